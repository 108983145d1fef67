using System;
using System.Collections.Generic;
using System.IO;
using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>Runs random programs natively and on a subject; a failing program is cut down before it is printed.</summary>
internal sealed class SequenceCampaign : IDisposable
{
    private readonly CampaignOptions _options;
    private readonly NativeRunner _native;
    private readonly IInstructionRunner[] _subjects;
    private readonly TextWriter _output;
    private readonly SequenceGenerator _generator;
    private readonly TestCase _test = new();
    private readonly TestResult _expected = new();
    private readonly TestResult _actual = new();

    /// <summary>Prepares; the runners belong to the caller. Each subject runs each program.</summary>
    internal SequenceCampaign(
        CampaignOptions options,
        NativeRunner native,
        IInstructionRunner[] subjects,
        TextWriter output)
    {
        _options = options;
        _native = native;
        _subjects = subjects;
        _output = output;
        _generator = new SequenceGenerator(new OracleRandom(options.Seed), options.Sets, options.Mode32);
        _test.Mode32 = options.Mode32;
    }

    /// <summary>Programs run.</summary>
    internal long Comparisons { get; private set; }

    /// <summary>Programs that ended in an exception.</summary>
    internal long Faults { get; private set; }

    /// <summary>Programs that differed.</summary>
    internal long Differences { get; private set; }

    /// <summary>Differences that a row of <see cref="KnownGaps"/> explains, by row.</summary>
    internal Dictionary<string, long> Gaps { get; } = [];

    /// <summary>Runs until the count is reached, or ten programs have differed.</summary>
    internal void Run()
    {
        while (Comparisons < _options.Count && Differences < 10)
        {
            OperandPlan? plan = _generator.TryMake(_test);
            if (plan is null)
            {
                continue;
            }

            Comparisons++;
            for (int i = 0; i < _subjects.Length; i++)
            {
                if (!IsSame(_subjects[i], plan.Instruction))
                {
                    using StringWriter first = new();
                    OracleReport.Write(first, _test, Culprit(plan.Instruction), _expected, _actual);
                    Instruction culprit = Minimise(_subjects[i], plan.Instruction);
                    if (_options.PassKnownGaps && KnownGaps.Find(culprit, _expected, _actual) is string gap)
                    {
                        Gaps[gap] = Gaps.GetValueOrDefault(gap) + 1;
                        break;
                    }

                    Differences++;
                    if (OracleComparer.Compare(_test, Culprit(plan.Instruction), _expected, _actual, null))
                    {
                        _output.WriteLine($"--- seed {_options.Seed}, program {Comparisons}, subject {i}: only once");
                        _output.Write(first);
                        break;
                    }

                    _output.WriteLine($"--- seed {_options.Seed}, program {Comparisons}, subject {i}");
                    OracleReport.Write(_output, _test, Culprit(plan.Instruction), _expected, _actual);
                    break;
                }
            }

            Faults += _expected.Faulted ? 1 : 0;
            if (Comparisons % 1024 == 0 && _native.VerifyWindow() is not 0 and ulong address)
            {
                Differences++;
                _output.WriteLine($"seed {_options.Seed}: program {Comparisons} or one of the 1024 before it wrote {address:x}");
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

    private bool IsSame(IInstructionRunner subject, in Instruction last)
    {
        _native.Run(_test, _expected);
        subject.Run(_test, _actual);
        return OracleComparer.Compare(_test, Culprit(last), _expected, _actual, null);
    }

    // The instruction that faulted natively: what may differ depends on it.
    private unsafe Instruction Culprit(in Instruction last)
    {
        ulong at = _expected.State->Rip - _test.CodeAddress;
        if (!_expected.Faulted || at >= (ulong)_test.CodeLength)
        {
            return last;
        }

        byte[] code = _test.Code.AsSpan((int)at, _test.CodeLength - (int)at).ToArray();
        Decoder decoder = OracleDecoder.Create(_test.Mode32 ? 32 : 64, new ByteArrayCodeReader(code));
        decoder.IP = _expected.State->Rip;
        decoder.Decode(out Instruction instruction);
        return instruction;
    }

    // Turns one instruction after the other into NOPs of the same length, as long as the programs still differ.
    // Returns the last instruction that is left.
    private Instruction Minimise(IInstructionRunner subject, in Instruction last)
    {
        byte[] code = _test.Code.AsSpan(0, _test.CodeLength).ToArray();
        Decoder decoder = OracleDecoder.Create(_test.Mode32 ? 32 : 64, new ByteArrayCodeReader((byte[])code.Clone()));
        decoder.IP = _test.CodeAddress;
        Instruction culprit = last;
        for (int at = 0; at < code.Length;)
        {
            decoder.Decode(out Instruction instruction);
            byte[] kept = code.AsSpan(at, instruction.Length).ToArray();
            FillNops(code.AsSpan(at, instruction.Length));
            code.CopyTo(_test.Code, 0);
            _test.CodeVersion++;
            if (IsSame(subject, last))
            {
                kept.CopyTo(code, at);
                culprit = instruction;
            }

            at += instruction.Length;
        }

        code.CopyTo(_test.Code, 0);
        _test.CodeVersion++;
        _ = IsSame(subject, last);
        return culprit;
    }

    private static void FillNops(Span<byte> bytes)
    {
        bytes.Fill(0x66);
        bytes[^1] = 0x90;
    }
}
