using System;
using System.IO;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Threading;
using Hull.Bus;
using Hull.Engine;
using Hull.Host;
using Hull.Kvm;
using Hull.Memory;
using Hull.Tests.Oracle;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Kvm;

/// <summary>User code on KVM against the same instructions on the host's CPU.</summary>
[Collection("NativeOracle")]
public sealed class KvmOracleTests(ITestOutputHelper output)
{
    private const int GeneralProtection = 13;

    // Parts of names of forms that the processor itself runs wrong, where it is an emulator's.
    private static readonly string[] Without =
        (Environment.GetEnvironmentVariable("HULL_ORACLE_WITHOUT") ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries);

    [KvmFact(OnTheCpu = true)]
    public void UserCode_ComputesAsTheHostsCpu() => Compare(new CampaignOptions
    {
        Count = 4000,
        StatesPerEncoding = 1,
        FaultsPerThousand = 20,
        Seed = (uint)Random.Shared.Next(),
        Without = Without,
    });

    // A KVM without VMX or SVM runs code of level 3 on the CPU too. But it enters it only with a canonical RSP, and what ends in #GP
    // there (an address that is not aligned) it emulates, which for these it cannot.
    [KvmFact]
    public void CodeWithVectors_ComputesAsTheHostsCpu() => Compare(new CampaignOptions
    {
        Count = 6000,
        StatesPerEncoding = 2,
        FaultsPerThousand = 0,
        CanonicalStack = true,
        Skip = static result => result is { Faulted: true, Vector: GeneralProtection } && KvmHost.WhyNotOnTheCpu.Value is not null,
        Sets = FormSets.Avx | FormSets.Sse | FormSets.Crypto | FormSets.BitManipulation,
        Seed = (uint)Random.Shared.Next(),
        Without = Without,
    });

    private void Compare(CampaignOptions options)
    {
        using NativeRunner native = new();
        using KvmRunner kvm = new(ControlWordBit(native));
        using StringWriter text = new();
        using Campaign campaign = new(options, native, kvm, text);
        campaign.Run();
        output.WriteLine($"seed {options.Seed}: {campaign.Comparisons} comparisons, {campaign.Faults} with exceptions {text}");
        Assert.True(campaign.Comparisons >= options.Count, $"only {campaign.Comparisons} comparisons");
        Assert.Equal(0, campaign.Differences);
    }

    // Bit 6 of FCW is reserved, and reads as one on every CPU but not on every emulator's.
    private static unsafe byte ControlWordBit(NativeRunner native)
    {
        using TestCase test = new();
        using TestResult result = new();
        test.SetCode([0x90]);
        test.Initial->Rflags = 0x202;
        test.Initial->Mxcsr = 0x1F80;
        test.Initial->XstateBv = 3;
        native.Run(test, result);
        return (byte)(result.State->Fcw & 0x40);
    }

    /// <summary>Runs the oracle's tests on a vCPU at level 3, in the guest that the soft engine's tests have.</summary>
    private sealed unsafe class KvmRunner : IInstructionRunner, IDisposable
    {
        private const byte EndPort = 0x10;
        private const int Breakpoint = 3;

        private readonly GuestMemory _memory = new(SoftGuest.RamSize);
        private readonly byte[] _pattern = OracleLayout.MakePattern();
        private readonly KvmEngine _engine;
        private readonly KvmVcpu _vcpu;
        private readonly SoftGuest _guest;
        private readonly byte _controlWordBit;
        private ulong _writtenAddress = OracleLayout.Code;
        private readonly JoinedTimer _watch;
        private int _writtenLength;
        private long _entered; // when the vCPU was entered, in milliseconds; 0: it is not
        private volatile bool _late;

        internal KvmRunner(byte controlWordBit)
        {
            _controlWordBit = controlWordBit;
            IoBus bus = new();
            _engine = KvmHost.CreateEngine(_memory, bus, 1);
            _vcpu = (KvmVcpu)_engine.CreateVcpu(0, null);
            bus.MapPorts(EndPort, 1, new EndDevice(_vcpu));
            _watch = new JoinedTimer(Watch, 1000, 1000);
            _guest = new SoftGuest(_memory);
            for (uint vector = 0; vector < 32; vector++)
            {
                _guest.WriteLinear(SoftGuest.Handlers + (16 * vector), [0xE6, EndPort, 0xEB, 0xFE]); // out 10h, al; jmp $
            }
        }

        public void Run(TestCase test, TestResult result)
        {
            Span<byte> filler = stackalloc byte[TestCase.MaxCode];
            filler.Fill(0xCC);
            _guest.WriteLinear(_writtenAddress, filler[.._writtenLength]);
            _guest.WriteLinear(test.CodeAddress, test.Code.AsSpan(0, test.CodeLength));
            _writtenAddress = test.CodeAddress;
            _writtenLength = test.CodeLength;
            _guest.WriteLinear(test.SliceAddress, test.Slice.AsSpan(0, test.SliceLength));
            _vcpu.SetState(Load(test));
            result.Clear();
            Volatile.Write(ref _entered, Environment.TickCount64);
            VcpuExit exit = _vcpu.Run();
            Volatile.Write(ref _entered, 0);
            if (exit != VcpuExit.Kicked || _late)
            {
                result.RunnerError = _late
                    ? $"hangs at 0x{_vcpu.GetState().Rip:x}, code {Convert.ToHexString(test.Code, 0, test.CodeLength)}"
                    : $"{exit}: {_vcpu.FailureMessage}";
                _late = false;
                return;
            }

            Store(test, result, _vcpu.GetState());
            _guest.ReadLinear(test.SliceAddress, result.Slice.AsSpan(0, test.SliceLength));
            int at = (int)(test.SliceAddress - OracleLayout.Window);
            _guest.WriteLinear(test.SliceAddress, _pattern.AsSpan(at, test.SliceLength));
        }

        public ulong VerifyWindow()
        {
            byte[] window = new byte[_pattern.Length];
            _guest.ReadLinear(OracleLayout.Window, window);
            int same = window.AsSpan().CommonPrefixLength(_pattern);
            return same == window.Length ? 0 : OracleLayout.Window + (ulong)same;
        }

        public void Dispose()
        {
            _watch.Dispose();
            _engine.Dispose();
            _memory.Dispose();
        }

        private void Watch()
        {
            long entered = Volatile.Read(ref _entered);
            if (entered != 0 && Environment.TickCount64 - entered > 20_000)
            {
                _late = true;
                _vcpu.Kick();
            }
        }

        private ArchState Load(TestCase test)
        {
            ArchState state = SoftGuest.MakeState(test.Mode32, test.Segments);
            CpuTestState* from = test.Initial;
            new ReadOnlySpan<ulong>(from->Gpr, 16).CopyTo(state.Gpr);
            state.Rip = test.CodeAddress;
            state.Rflags = from->Rflags;
            if (Avx.IsSupported)
            {
                new ReadOnlySpan<byte>(from->YmmHigh, 256).CopyTo(state.YmmHigh);
            }
            else
            {
                state.Xcr0 = 3;
            }

            if (test.UsesSegmentBases && !test.Mode32)
            {
                state.Segments[4] = state.Segments[4] with { Base = from->FsBase };
                state.Segments[5] = state.Segments[5] with { Base = from->GsBase };
            }

            new ReadOnlySpan<byte>(from->Fxsave, 160).CopyTo(state.Fxsave);
            state.Fxsave[0] |= _controlWordBit; // the kernel may give back what it was given
            MemoryMarshal.Write(state.Fxsave.AsSpan(24), from->Mxcsr);
            new ReadOnlySpan<byte>(from->Xmm, 256).CopyTo(state.Fxsave.AsSpan(160));
            return state;
        }

        // The handler's address says which exception it was; the frame on its stack says the rest.
        private void Store(TestCase test, TestResult result, ArchState state)
        {
            int vector = SoftGuest.VectorAt(state.Rip);
            int first = 1;
            ulong stackSegment = _guest.ReadPushed(first++);
            state.Gpr[4] = _guest.ReadPushed(first++);
            state.Rflags = _guest.ReadPushed(first++);
            ulong codeSegment = _guest.ReadPushed(first++);
            state.Rip = _guest.ReadPushed(first++);
            if (vector == Breakpoint && test.IsPad(state.Rip - 1))
            {
                state.Rip--;
            }
            else
            {
                result.Faulted = true;
                result.Vector = (byte)vector;
                result.ErrorCode = SoftGuest.HasErrorCode(vector) ? (uint)_guest.ReadPushed(first) : 0;
                result.Address = vector == 14 ? state.Cr2 : 0;
            }

            CpuTestState* to = result.State;
            state.Gpr.CopyTo(new Span<ulong>(to->Gpr, 16));
            to->Rip = state.Rip;
            to->Rflags = state.Rflags;
            if (test.UsesSegmentBases)
            {
                to->FsBase = state.Segments[4].Base;
                to->GsBase = state.Segments[5].Base;
                for (int i = 0; i < 6; i++)
                {
                    to->Selectors[i] = state.Segments[i].Selector;
                }

                to->Selectors[1] = (ushort)codeSegment;
                to->Selectors[2] = (ushort)stackSegment;
            }

            state.Fxsave.AsSpan(0, 160).CopyTo(new Span<byte>(to->Fxsave, 160));
            to->Mxcsr = MemoryMarshal.Read<uint>(state.Fxsave.AsSpan(24));
            state.Fxsave.AsSpan(160, 256).CopyTo(new Span<byte>(to->Xmm, 256));
            state.YmmHigh.CopyTo(new Span<byte>(to->YmmHigh, 256));
        }

        private sealed class EndDevice(KvmVcpu vcpu) : IPortDevice
        {
            public uint ReadPort(ushort offset, int size) => 0;

            public void WritePort(ushort offset, int size, uint value) => vcpu.Kick();
        }
    }
}
