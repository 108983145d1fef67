using System;
using System.Collections.Generic;
using System.Linq;
using Hull.Cpu.Decode;
using Hull.Engine;
using Iced.Intel;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Oracle;

/// <summary>
/// Every instruction form that Iced knows is accounted for: compared with the host by the oracle, or privileged, or not
/// in any CPUID that Hull shows (then it is #UD), or in the table here with the test that looks at it.
/// </summary>
[Collection("NativeOracle")]
public sealed class CoverageTests(ITestOutputHelper output)
{
    // Instructions whose result is the machine's own state, or a number nobody can know: no host can be asked.
    private static readonly Dictionary<Mnemonic, string> Elsewhere = Table(
        ("Assist/ProcessorTests, DescriptorTableTests, CpuidPolicyTests: what they read is Hull's own", [
            Mnemonic.Cpuid, Mnemonic.Rdtsc, Mnemonic.Rdtscp, Mnemonic.Rdpid, Mnemonic.Rdpmc, Mnemonic.Xgetbv,
            Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Sldt, Mnemonic.Str, Mnemonic.Smsw,
        ]),
        ("random by definition; run on the host, or made from the count in deterministic mode (DeterministicTests)", [
            Mnemonic.Rdrand, Mnemonic.Rdseed,
        ]),
        ("Assist/SegmentTests and FarTransferTests: they read the guest's own descriptor tables", [
            Mnemonic.Mov, Mnemonic.Pop, Mnemonic.Jmp, Mnemonic.Call,
        ]),
        ("Assist/FastCallTests, SoftwareInterruptTests and DeliveryTests: they enter the guest's own kernel", [
            Mnemonic.Syscall, Mnemonic.Sysenter, Mnemonic.Int,
        ]),
        ("Assist/FpuStateTests: the layout; what XSAVEOPT leaves out is the CPU's choice (SDM vol. 1, XSAVEOPT)", [
            Mnemonic.Xsaveopt, Mnemonic.Xsaveopt64,
        ]),
        ("FWAIT and the form without it: Iced's name for two instructions", [
            Mnemonic.Fclex, Mnemonic.Finit, Mnemonic.Fsave, Mnemonic.Fstcw, Mnemonic.Fstenv, Mnemonic.Fstsw,
            Mnemonic.Feni, Mnemonic.Fdisi, Mnemonic.Fsetpm,
        ]),
        ("NOP on every CPU that Hull shows; the host may have the feature that they belong to (shadow stacks, hints)", [
            Mnemonic.Rdsspd, Mnemonic.Rdsspq, Mnemonic.Endbr32, Mnemonic.Endbr64,
            Mnemonic.Prefetchwt1, Mnemonic.Prefetchit0, Mnemonic.Prefetchit1, Mnemonic.Cldemote,
        ]),
        ("Assist/ProcessorTests: a hypercall belongs to the personality, else #UD", [
            Mnemonic.Vmcall, Mnemonic.Vmmcall,
        ]));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EveryForm_IsComparedOrAccountedFor(bool mode32)
    {
        HashSet<Code> compared = [.. FormCatalog.Find(FormSets.All, mode32).Select(static f => f.Code)];
        List<string> holes = [];
        Dictionary<string, int> counts = [];
        foreach (Code code in Enum.GetValues<Code>())
        {
            OpCodeInfo form = code.ToOpCode();
            if (!form.IsInstruction || !(mode32 ? form.Mode32 && form.CompatibilityMode : form.Mode64)
                || !FormCatalog.IsDecoded(form, mode32) || form.DecoderOption != DecoderOptions.None)
            {
                continue; // Hull's decoder never gives it
            }

            string kind = Account(code, form, compared);
            counts[kind] = counts.GetValueOrDefault(kind) + 1;
            if (kind == "HOLE")
            {
                holes.Add(code.ToString());
            }
        }

        foreach ((string kind, int count) in counts.OrderByDescending(static c => c.Value))
        {
            output.WriteLine($"{count,5} {kind}");
        }

        Assert.True(holes.Count == 0, $"{holes.Count} forms that nothing tests: {string.Join(' ', holes)}");
        Assert.True(counts["compared with the host"] > 1200);
    }

    // A CPU with all that Hull knows.
    private static readonly CpuFeatureSet AllFeatures = new(ulong.MaxValue);

    [Fact]
    public void NothingIsComparedThatTheGuestCannotRun()
    {
        foreach (bool mode32 in (ReadOnlySpan<bool>)[false, true])
        {
            foreach (Form form in FormCatalog.Find(FormSets.All, mode32))
            {
                bool undefined = PlanClassifier.Classify(form.Code, AllFeatures) == PlanKind.Undefined;
                bool known = form.Set == FormSets.Privileged || form.Code.Mnemonic() is Mnemonic.Ud1 or Mnemonic.Ud2;
                Assert.True(!undefined || known, form.Code.ToString());
            }
        }
    }

    private static string Account(Code code, OpCodeInfo form, HashSet<Code> compared)
    {
        if (compared.Contains(code))
        {
            return "compared with the host";
        }

        if (PlanClassifier.Classify(code, AllFeatures) == PlanKind.Undefined)
        {
            return "#UD: not in any CPUID that Hull shows";
        }

        if (form.IsPrivileged || form.MustBeCpl0 || !form.Cpl3)
        {
            return "privileged: Assist tests";
        }

        bool plain = code.Mnemonic() is (Mnemonic.Mov or Mnemonic.Pop or Mnemonic.Jmp or Mnemonic.Call) && !IsSegmented(form);
        return !plain && Elsewhere.TryGetValue(code.Mnemonic(), out string? where) ? where : "HOLE";
    }

    // Of MOV, POP, JMP and CALL only the forms with a segment register or a far pointer belong to the table.
    private static bool IsSegmented(OpCodeInfo form)
    {
        for (int i = 0; i < form.OpCount; i++)
        {
            if (form.GetOpKind(i) is OpCodeOperandKind.seg_reg or OpCodeOperandKind.ds or OpCodeOperandKind.es
                or OpCodeOperandKind.ss or OpCodeOperandKind.fs or OpCodeOperandKind.gs or OpCodeOperandKind.farbr2_2
                or OpCodeOperandKind.farbr4_2)
            {
                return true;
            }
        }

        return form.Code is Code.Jmp_m1616 or Code.Jmp_m1632 or Code.Jmp_m1664 or Code.Call_m1616 or Code.Call_m1632
            or Code.Call_m1664;
    }

    private static Dictionary<Mnemonic, string> Table(params (string Where, Mnemonic[] Mnemonics)[] rows) =>
        rows.SelectMany(static row => row.Mnemonics.Select(m => (m, row.Where))).ToDictionary(static p => p.m, static p => p.Where);
}
