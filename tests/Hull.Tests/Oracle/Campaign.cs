using System;
using System.Collections.Generic;
using System.IO;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>What a campaign is to do.</summary>
internal sealed record CampaignOptions
{
    /// <summary>The seed; printed with every difference.</summary>
    internal ulong Seed { get; init; } = 1;

    /// <summary>How many comparisons.</summary>
    internal long Count { get; init; } = 1_000_000;

    /// <summary>Which instructions.</summary>
    internal FormSets Sets { get; init; } = FormSets.All;

    /// <summary>32-bit compatibility mode instead of 64-bit mode.</summary>
    internal bool Mode32 { get; init; }

    /// <summary>Of a thousand 32-bit encodings, how many have segments that are not flat.</summary>
    internal int SegmentsPerThousand { get; init; }

    /// <summary>States for each encoding.</summary>
    internal int StatesPerEncoding { get; init; } = 8;

    /// <summary>Memory operands in a thousand that are meant to fault.</summary>
    internal int FaultsPerThousand { get; init; } = 8;

    /// <summary>Only forms whose name contains this; all when empty.</summary>
    internal string Filter { get; init; } = "";

    /// <summary>No forms whose names contain one of these.</summary>
    internal string[] Without { get; init; } = [];

    /// <summary>RSP is canonical, whatever it is used for.</summary>
    internal bool CanonicalStack { get; init; }

    /// <summary>No comparisons of what ends like this on the host's CPU; null: all.</summary>
    internal Predicate<TestResult>? Skip { get; init; }

    /// <summary>Count the differences of <see cref="KnownGaps"/> apart.</summary>
    internal bool PassKnownGaps { get; init; }

    /// <summary>Differences printed for each form.</summary>
    internal int ShownPerForm { get; init; } = 1;
}

/// <summary>Runs every form natively and on a subject, and reports differences.</summary>
internal sealed class Campaign : IDisposable
{
    // A round of few forms may find no encoding, or no state, for any.
    private const int MostEmptyRounds = 1000;

    private readonly CampaignOptions _options;
    private readonly NativeRunner _native;
    private readonly IInstructionRunner _subject;
    private readonly TextWriter _output;
    private readonly OracleRandom _random;
    private readonly InstructionBuilder _builder;
    private readonly StateGenerator _states;
    private readonly InstructionInfoFactory _infos = new();
    private readonly TestCase _test = new();
    private readonly TestResult _expected = new();
    private readonly TestResult _actual = new();
    private readonly Dictionary<Code, int> _differences = [];

    /// <summary>Prepares a campaign; both runners belong to the caller.</summary>
    internal Campaign(CampaignOptions options, NativeRunner native, IInstructionRunner subject, TextWriter output)
    {
        _options = options;
        _native = native;
        _subject = subject;
        _output = output;
        _random = new OracleRandom(options.Seed);
        _builder = new InstructionBuilder(_random, options.Mode32) { AllowSegmentBases = NativeRunner.HasSegmentBases };
        _states = new StateGenerator(_random) { FaultsPerThousand = options.FaultsPerThousand };
        _test.Mode32 = options.Mode32;
    }

    /// <summary>Comparisons made.</summary>
    internal long Comparisons { get; private set; }

    /// <summary>Comparisons that ended in an exception.</summary>
    internal long Faults { get; private set; }

    /// <summary>Comparisons that differed.</summary>
    internal long Differences { get; private set; }

    /// <summary>Differences by form.</summary>
    internal IReadOnlyDictionary<Code, int> DifferencesByForm => _differences;

    /// <summary>Differences that a row of <see cref="KnownGaps"/> explains, by row.</summary>
    internal Dictionary<string, long> Gaps { get; } = [];

    /// <summary>Forms of which no encoding could be made, or no state: they are not tested.</summary>
    internal List<Code> Untested { get; } = [];

    /// <summary>Called now and then with the campaign, for progress.</summary>
    internal Action<Campaign>? Progress { get; set; }

    /// <summary>Runs until the count is reached; every form gets its share.</summary>
    internal void Run()
    {
        List<Form> forms = FormCatalog.Find(_options.Sets, _options.Mode32)
            .FindAll(f => f.Code.ToString().Contains(_options.Filter, StringComparison.OrdinalIgnoreCase)
                && !Array.Exists(_options.Without, part => f.Code.ToString().Contains(part, StringComparison.Ordinal)));
        if (forms.Count == 0)
        {
            return;
        }

        HashSet<Code> tested = [];
        int round = 0;
        int empty = 0;
        while (Comparisons < _options.Count && empty < MostEmptyRounds)
        {
            long before = Comparisons;
            foreach (Form form in forms)
            {
                if (Comparisons >= _options.Count && round > 0)
                {
                    break;
                }

                if (TestForm(form))
                {
                    tested.Add(form.Code);
                }
            }

            round++;
            Progress?.Invoke(this);
            empty = Comparisons == before ? empty + 1 : 0;
        }

        foreach (Form form in forms)
        {
            if (!tested.Contains(form.Code))
            {
                Untested.Add(form.Code);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _test.Dispose();
        _expected.Dispose();
        _actual.Dispose();
    }

    private bool TestForm(Form form)
    {
        if (!_builder.TryBuild(form, OracleLayout.CodeStart, out Instruction instruction))
        {
            return false;
        }

        Place(ref instruction);
        OperandPlan plan = OperandPlan.Of(instruction, _infos, _options.Mode32);
        _test.UsesSegmentBases = plan.NeedsSegmentBases || form.Set == FormSets.Segments;
        bool cut = _options.Mode32 && _native.HasSegments && _random.Below(1000) < _options.SegmentsPerThousand;
        _test.Segments = cut ? OracleSegments.Choose(_random) : SegmentChoice.Flat;
        AddPads(instruction);
        bool any = false;
        int states = _test.PadCount == 0 ? 1 : _options.StatesPerEncoding;
        for (int i = 0; i < states; i++)
        {
            bool filled = false;
            for (int attempt = 0; attempt < 8 && !filled; attempt++)
            {
                filled = _states.TryFill(plan, _test, form.Set);
            }

            if (filled)
            {
                any = true;
                if (_options.CanonicalStack)
                {
                    MakeStackCanonical();
                }

                Compare(form, instruction);
            }
        }

        return any;
    }

    private unsafe void MakeStackCanonical()
    {
        // SAFETY: the test case has its state until it is disposed, with this campaign.
        ulong* rsp = &_test.Initial->Gpr[4];
        *rsp = (ulong)((long)(*rsp << 16) >> 16);
    }

    // Mostly at the usual place; now and then across the two code pages, or against the end of the last, whole or cut.
    private void Place(ref Instruction instruction)
    {
        ReadOnlySpan<byte> bytes = _builder.Bytes;
        ulong address = OracleLayout.CodeStart;
        int pick = _random.Below(256);
        if (pick < 16)
        {
            address = OracleLayout.Code + 0x1000 - (ulong)_random.Below(bytes.Length + 1);
        }
        else if (pick == 16)
        {
            bytes = bytes[..^_random.Below(bytes.Length)];
            address = OracleLayout.Code + OracleLayout.CodeSize - (ulong)bytes.Length;
        }

        _test.SetCode(bytes, 1, address);
        if (address != OracleLayout.CodeStart)
        {
            Decoder decoder = OracleDecoder.Create(_options.Mode32 ? 32 : 64, new ByteArrayCodeReader(_builder.Bytes.ToArray()));
            decoder.IP = address;
            decoder.Decode(out instruction);
        }
    }

    private unsafe void AddPads(in Instruction instruction)
    {
        _test.Initial->Rip = _test.CodeAddress;
        if (instruction.FlowControl is FlowControl.Next or FlowControl.Exception or FlowControl.Interrupt)
        {
            return;
        }

        bool direct = instruction.Op0Kind is OpKind.NearBranch16 or OpKind.NearBranch32 or OpKind.NearBranch64;
        ulong target = instruction.NearBranchTarget;
        if (!direct)
        {
            OracleLayout.FarTargets.CopyTo(_test.Pads.AsSpan(_test.PadCount));
            _test.PadCount += OracleLayout.FarTargets.Length;
        }
        else if (!_test.IsPad(target) && target >= OracleLayout.Code && target < OracleLayout.Code + OracleLayout.CodeSize)
        {
            _test.Pads[_test.PadCount++] = target;
        }
    }

    private void Compare(Form form, in Instruction instruction)
    {
        _native.Run(_test, _expected);
        if (_options.Skip?.Invoke(_expected) ?? false)
        {
            return;
        }

        _subject.Run(_test, _actual);
        Comparisons++;
        Faults += _expected.Faulted ? 1 : 0;
        if (!OracleComparer.Compare(_test, instruction, _expected, _actual, null))
        {
            Report(form, instruction);

            // What a wrong store left outside the slice would show up as a difference of innocent tests.
            _native.VerifyWindow();
            _subject.VerifyWindow();
        }

        if (Comparisons % 4096 == 0)
        {
            VerifyWindow(_native, "native");
            VerifyWindow(_subject, "subject's");
        }
    }

    private void VerifyWindow(IInstructionRunner runner, string whose)
    {
        if (runner.VerifyWindow() is not 0 and ulong address)
        {
            Differences++;
            _output.WriteLine($"seed {_options.Seed}: {whose} test {Comparisons} or one of the 4096 before it wrote {address:x}");
        }
    }

    private void Report(Form form, in Instruction instruction)
    {
        if (_options.PassKnownGaps && KnownGaps.Find(instruction, _expected, _actual) is string gap)
        {
            Gaps[gap] = Gaps.GetValueOrDefault(gap) + 1;
            return;
        }

        Differences++;
        int seen = _differences.GetValueOrDefault(form.Code);
        _differences[form.Code] = seen + 1;
        if (seen >= _options.ShownPerForm)
        {
            return;
        }

        _output.WriteLine($"--- seed {_options.Seed}, comparison {Comparisons}, {form.Code}");
        OracleReport.Write(_output, _test, instruction, _expected, _actual);
        _native.Run(_test, _expected);
        _subject.Run(_test, _actual);
        bool same = OracleComparer.Compare(_test, instruction, _expected, _actual, null);
        _output.WriteLine(same ? "    run again there is no difference" : "    run again it differs too");
    }
}
