using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Kvm.Abi;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>Sizes, offsets and numbers of the kernel's interface. Linux, include/uapi/linux/kvm.h, asm/kvm.h.</summary>
public sealed class KvmAbiTests
{
    [Fact]
    public void Structures_HaveTheKernelsSizes()
    {
        Assert.Equal(144, Unsafe.SizeOf<KvmRegs>());
        Assert.Equal(24, Unsafe.SizeOf<KvmSegment>());
        Assert.Equal(16, Unsafe.SizeOf<KvmTable>());
        Assert.Equal(312, Unsafe.SizeOf<KvmSregs>());
        Assert.Equal(64, Unsafe.SizeOf<KvmVcpuEvents>());
        Assert.Equal(128, Unsafe.SizeOf<KvmDebugRegs>());
        Assert.Equal(392, Unsafe.SizeOf<KvmXcrs>());
        Assert.Equal(4096, Unsafe.SizeOf<KvmXsave>());
        Assert.Equal(1024, Unsafe.SizeOf<KvmLapic>());
        Assert.Equal(24, Unsafe.SizeOf<KvmTranslation>());
        Assert.Equal(72, Unsafe.SizeOf<KvmGuestDebug>());
        Assert.Equal(8, Unsafe.SizeOf<KvmListHead>());
        Assert.Equal(40, Unsafe.SizeOf<KvmCpuidEntry>());
        Assert.Equal(16, Unsafe.SizeOf<KvmMsrEntry>());
        Assert.Equal(32, Unsafe.SizeOf<KvmMemoryRegion>());
        Assert.Equal(16, Unsafe.SizeOf<KvmDirtyLogRequest>());
        Assert.Equal(16, Unsafe.SizeOf<KvmDirtyPage>());
        Assert.Equal(32, Unsafe.SizeOf<KvmMsi>());
        Assert.Equal(48, Unsafe.SizeOf<KvmRoute>());
        Assert.Equal(64, Unsafe.SizeOf<KvmIoEventFd>());
        Assert.Equal(32, Unsafe.SizeOf<KvmIrqFd>());
        Assert.Equal(104, Unsafe.SizeOf<KvmEnableCapability>());
        Assert.Equal(24, Unsafe.SizeOf<KvmMsrRange>());
        Assert.Equal(392, Unsafe.SizeOf<KvmMsrFilter>());
        Assert.Equal(56, Unsafe.SizeOf<KvmHypercallConfig>());
        Assert.Equal(24, Unsafe.SizeOf<KvmDeviceAttribute>());
    }

    [Theory]
    [InlineData(nameof(KvmRun.ExitReason), 8)]
    [InlineData(nameof(KvmRun.IoDataOffset), 40)]
    [InlineData(nameof(KvmRun.MmioData), 40)]
    [InlineData(nameof(KvmRun.MmioIsWrite), 52)]
    [InlineData(nameof(KvmRun.MsrIndex), 44)]
    [InlineData(nameof(KvmRun.MsrData), 48)]
    [InlineData(nameof(KvmRun.DebugRip), 40)]
    [InlineData(nameof(KvmRun.XenCpl), 44)]
    [InlineData(nameof(KvmRun.XenResult), 56)]
    [InlineData(nameof(KvmRun.XenArguments), 64)]
    public void SharedState_HasTheKernelsOffsets(string field, int offset) =>
        Assert.Equal(offset, (int)Marshal.OffsetOf<KvmRun>(field));

    [Fact]
    public void Requests_HaveTheKernelsNumbers()
    {
        Assert.Equal(0x4040_AE79u, KvmRequests.IoEventFd.Number);
        Assert.Equal(0x4020_AE76u, KvmRequests.IrqFd.Number);
        Assert.Equal(0xAE80u, KvmRequests.Run.Number);
        Assert.Equal(0xC008_AE05u, KvmRequests.GetSupportedCpuid.Number);
        Assert.Equal(0x4020_AE46u, KvmRequests.SetUserMemoryRegion.Number);
        Assert.Equal(0x4008_AE48u, KvmRequests.SetIdentityMapAddress.Number);
        Assert.Equal(0x4010_AE42u, KvmRequests.GetDirtyLog.Number);
        Assert.Equal(0x4008_AE6Au, KvmRequests.SetGsiRouting.Number);
        Assert.Equal(0x8090_AE81u, KvmRequests.GetRegs.Number);
        Assert.Equal(0x4138_AE84u, KvmRequests.SetSregs.Number);
        Assert.Equal(0xC018_AE85u, KvmRequests.Translate.Number);
        Assert.Equal(0x4004_AE86u, KvmRequests.Interrupt.Number);
        Assert.Equal(0xC008_AE88u, KvmRequests.GetMsrs.Number);
        Assert.Equal(0x4008_AE90u, KvmRequests.SetCpuid.Number);
        Assert.Equal(0x4048_AE9Bu, KvmRequests.SetGuestDebug.Number);
        Assert.Equal(0x4040_AEA0u, KvmRequests.SetVcpuEvents.Number);
        Assert.Equal(0x4068_AEA3u, KvmRequests.EnableCapability.Number);
        Assert.Equal(0x4020_AEA5u, KvmRequests.SignalMsi.Number);
        Assert.Equal(0x9000_AEA4u, KvmRequests.GetXsave.Number);
        Assert.Equal(0x4188_AEA7u, KvmRequests.SetXcrs.Number);
        Assert.Equal(0x4188_AEC6u, KvmRequests.SetMsrFilter.Number);
        Assert.Equal(0x4038_AE7Au, KvmRequests.SetHypercallConfig.Number);
        Assert.Equal(0x4018_AEE1u, KvmRequests.SetDeviceAttribute.Number);
    }
}
