using System;
using System.Collections.Generic;
using Hull.Boot;
using Hull.Host;
using Hull.Kvm;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>What is made of a measurement, and when one is made.</summary>
public sealed class KvmVerdictTests
{
    [Theory]
    [InlineData(2000, 2, null, true, "2000 million")]
    [InlineData(300, 90, null, true, "90 us")] // SVM that an emulator emulates
    [InlineData(1.1, 15, null, false, "1.1 million instructions a second")]
    [InlineData(1.1, 15, "KVM cannot emulate", false, "1.1 million instructions a second")]
    [InlineData(500, 2, "KVM cannot emulate", false, "KVM cannot emulate")]
    [InlineData(0, 0, "there is no /dev/kvm", false, "there is no /dev/kvm")]
    [InlineData(500, 5000, null, false, "5 ms")]
    public void Measurement_IsJudged(double million, double exit, string? failure, bool usable, string reason)
    {
        KvmVerdict verdict = KvmVerdict.Judge(new KvmMeasurement(million, exit, failure));
        Assert.Equal(usable, verdict.IsUsable);
        Assert.Contains(reason, verdict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void RefusalOfADisturbedMeasurement_IsMeasuredAgainAndNotKept()
    {
        MemoryStore store = new();
        int count = 0;
        KvmVerdict verdict = KvmVerdict.Find(
            store,
            () =>
            {
                count++;
                return new KvmMeasurement(3, 4000, null, IsSteady: false);
            },
            out bool isNew);
        Assert.Equal((false, true, 3), (verdict.IsUsable, isNew, count));
        Assert.Null(store.Text);
    }

    [Theory]
    [InlineData(2000, true)]
    [InlineData(1.6, false)]
    public void QuietMomentBetweenDisturbedOnes_Decides(double million, bool usable)
    {
        MemoryStore store = new();
        Queue<KvmMeasurement> measured = new(
        [
            new KvmMeasurement(0, 0, "its calibration guest did not end in a second", IsSteady: false),
            new KvmMeasurement(million, 5, null),
        ]);
        Assert.Equal(usable, KvmVerdict.Find(store, measured.Dequeue, out _).IsUsable);
        Assert.Equal(usable, KvmVerdict.Find(store, measured.Dequeue, out bool isNew).IsUsable);
        Assert.False(isNew);
        Assert.Empty(measured);
    }

    [Fact]
    public void GoodFiguresOfADisturbedMeasurement_AreGoodAndKept()
    {
        MemoryStore store = new();
        Assert.True(KvmVerdict.Find(store, static () => new KvmMeasurement(900, 5, null, IsSteady: false), out _).IsUsable);
        Assert.Contains("usable", store.Text, StringComparison.Ordinal);
    }

    [KvmFact]
    public void Verdict_IsMeasuredOnce()
    {
        MemoryStore store = new();
        KvmVerdict first = KvmVerdict.Find(store, out bool isNew);
        Assert.True(isNew);
        Assert.Equal(first, KvmVerdict.Find(store, out isNew));
        Assert.False(isNew);
    }

    [KvmTheory]
    [InlineData("")]
    [InlineData("another host\nusable\nfast\n")]
    [InlineData("\n\n\n")]
    public void VerdictOfAnotherHostOrBroken_CountsNothing(string kept)
    {
        MemoryStore store = new() { Text = kept };
        KvmVerdict.Find(store, out bool isNew);
        Assert.True(isNew);
        Assert.NotEqual(kept, store.Text);
    }

    [KvmFact]
    public void CpuWithoutVirtualization_IsRefusedOnceAndSaysSo()
    {
        MemoryStore store = new();
        List<string> notices = [];
        MachineSpec spec = new() { Kernel = BootBlob.FromBytes("none", default), Verdicts = store, Notice = notices.Add };
        KvmVerdict verdict = KvmVerdict.Find(new MemoryStore(), out _);
        (MachineSpec chosen, bool _) = EngineChoice.Build(spec, static _ => true);
        EngineChoice.Build(spec, static _ => true);
        Assert.Equal(verdict.IsUsable ? EngineKind.Kvm : EngineKind.Soft, chosen.Engine);
        Assert.Equal(verdict.IsUsable ? 0 : 1, notices.Count);
    }

    [Fact]
    public void SoftEnginesOption_ChoosesItWithoutALook()
    {
        MachineSpec spec = new() { Kernel = BootBlob.FromBytes("none", default), Deterministic = true };
        Assert.Equal(EngineKind.Soft, EngineChoice.Build(spec, static _ => true).Spec.Engine);
        HullException e = Assert.Throws<HullException>((spec with { Engine = EngineKind.Kvm }).Validate);
        Assert.Contains("--deterministic", e.Message, StringComparison.Ordinal);
    }

    [KvmFact]
    public void GuestThatKvmDoesNotTake_RunsOnTheSoftEngine()
    {
        // The verdict of this host, turned to its best.
        MemoryStore store = new();
        KvmVerdict.Find(store, out _);
        store.Text = store.Text!.Replace("\nrefused\n", "\nusable\n", StringComparison.Ordinal);
        List<string> notices = [];
        MachineSpec spec = new() { Kernel = BootBlob.FromBytes("none", default), Verdicts = store, Notice = notices.Add };
        (MachineSpec chosen, string built) = EngineChoice.Build(
            spec, static asked => asked.Engine == EngineKind.Kvm ? throw new HullException("no slot") : "soft");
        Assert.Equal((EngineKind.Soft, "soft"), (chosen.Engine, built));
        Assert.Contains("no slot", Assert.Single(notices), StringComparison.Ordinal);
    }

    [KvmTheory]
    [InlineData("refused", 1)]
    [InlineData("usable", 0)]
    public void KvmThatTheUserInsistsOn_IsTakenWithALineIfAutoWouldNot(string kept, int lines)
    {
        MemoryStore store = new();
        KvmVerdict.Find(store, static () => new KvmMeasurement(900, 5, null), out _);
        store.Text = store.Text!.Replace("\nusable\n", $"\n{kept}\n", StringComparison.Ordinal);
        List<string> notices = [];
        MachineSpec spec = new()
        {
            Kernel = BootBlob.FromBytes("none", default),
            Engine = EngineKind.Kvm,
            Verdicts = store,
            Notice = notices.Add,
        };
        Assert.Equal(EngineKind.Kvm, EngineChoice.Build(spec, static _ => true).Spec.Engine);
        Assert.Equal(lines, notices.Count);
        Assert.All(notices, static line => Assert.StartsWith("--engine auto would not take this KVM: ", line, StringComparison.Ordinal));
    }

    private sealed class MemoryStore : IVerdictStore
    {
        internal string? Text { get; set; }

        public string? Load() => Text;

        public void Save(string text) => Text = text;
    }
}
