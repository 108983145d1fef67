using System;
using Hull.Devices.Time;

namespace Hull.Devices.Firmware;

/// <summary>What firmware looks for in CMOS RAM: the machine's size.</summary>
internal static class FirmwareCmos
{
    /// <summary>Tells the memory size as firmware expects it in CMOS.</summary>
    /// <param name="rtc">The chip.</param>
    /// <param name="low">Bytes of RAM below 4 GiB.</param>
    /// <param name="high">Bytes of RAM from 4 GiB on.</param>
    internal static void SetMemorySize(RtcMc146818 rtc, ulong low, ulong high)
    {
        ulong extended = Math.Min((low >> 10) - 1024, 0xFFFF);
        ulong above16 = low > 16 << 20 ? Math.Min((low - (16 << 20)) >> 16, 0xFFFF) : 0;
        ulong above4G = Math.Min(high >> 16, 0xFF_FFFF);
        rtc.SetCmos(0x15, 640 & 0xFF);
        rtc.SetCmos(0x16, 640 >> 8);
        rtc.SetCmos(0x17, (byte)extended);
        rtc.SetCmos(0x18, (byte)(extended >> 8));
        rtc.SetCmos(0x30, (byte)extended);
        rtc.SetCmos(0x31, (byte)(extended >> 8));
        rtc.SetCmos(0x34, (byte)above16);
        rtc.SetCmos(0x35, (byte)(above16 >> 8));
        rtc.SetCmos(0x5B, (byte)above4G);
        rtc.SetCmos(0x5C, (byte)(above4G >> 8));
        rtc.SetCmos(0x5D, (byte)(above4G >> 16));
    }

    /// <summary>Tells firmware how many processors it has to wait for.</summary>
    internal static void SetVcpus(RtcMc146818 rtc, int count) => rtc.SetCmos(0x5F, (byte)(count - 1));
}
