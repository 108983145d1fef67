using System;

namespace Hull.Devices.Time;

/// <summary>
/// The time bytes of the RTC: seconds to year, century, alarm; in BCD or binary, 12 or 24 hours, as register B says.
/// </summary>
internal sealed class RtcCalendar(byte[] ram)
{
    private const int Seconds = 0;
    private const int SecondsAlarm = 1;
    private const int Minutes = 2;
    private const int MinutesAlarm = 3;
    private const int Hours = 4;
    private const int HoursAlarm = 5;
    private const int WeekDay = 6;
    private const int Day = 7;
    private const int Month = 8;
    private const int Year = 9;
    private const int RegisterB = 0x0B;
    private const int Century = 0x32;

    /// <summary>What the guest's time is ahead of UTC, in 100 ns ticks.</summary>
    internal long OffsetTicks { get; private set; }

    private bool IsBinary => (ram[RegisterB] & 4) != 0;

    private bool Is24Hour => (ram[RegisterB] & 2) != 0;

    /// <summary>True for the bytes that hold the running time.</summary>
    internal static bool IsTime(int index) =>
        index is Seconds or Minutes or Hours or WeekDay or Day or Month or Year or Century;

    /// <summary>The guest's time is so much later, or earlier.</summary>
    internal void Shift(long ticks) => OffsetTicks += ticks;

    /// <summary>Writes a time into the bytes.</summary>
    internal void Store(long ticks)
    {
        DateTime time = new(Math.Clamp(ticks, DateTime.MinValue.Ticks, DateTime.MaxValue.Ticks));
        ram[Seconds] = Encode(time.Second);
        ram[Minutes] = Encode(time.Minute);
        ram[Hours] = EncodeHour(time.Hour);
        ram[WeekDay] = Encode((int)time.DayOfWeek + 1);
        ram[Day] = Encode(time.Day);
        ram[Month] = Encode(time.Month);
        ram[Year] = Encode(time.Year % 100);
        ram[Century] = Encode(time.Year / 100);
    }

    /// <summary>Takes the time from the bytes; values that no calendar has are brought into range.</summary>
    internal void Load(long utcTicks)
    {
        int year = Math.Clamp((Decode(ram[Century]) * 100) + (Decode(ram[Year]) % 100), 1, 9998);
        int month = Math.Clamp(Decode(ram[Month]), 1, 12);
        int day = Math.Clamp(Decode(ram[Day]), 1, DateTime.DaysInMonth(year, month));
        DateTime time = new(
            year,
            month,
            day,
            Math.Clamp(DecodeHour(ram[Hours]), 0, 23),
            Math.Clamp(Decode(ram[Minutes]), 0, 59),
            Math.Clamp(Decode(ram[Seconds]), 0, 59));
        OffsetTicks = time.Ticks - utcTicks;
    }

    /// <summary>True when the alarm bytes name this second (counted from year 1); 0xC0 and up match anything.</summary>
    internal bool IsAlarm(long second)
    {
        long ofDay = ((second % 86_400) + 86_400) % 86_400;
        byte hour = ram[HoursAlarm];
        return Matches(ram[SecondsAlarm], (int)(ofDay % 60))
            && Matches(ram[MinutesAlarm], (int)(ofDay / 60 % 60))
            && (hour >= 0xC0 || DecodeHour(hour) == ofDay / 3600);
    }

    private bool Matches(byte alarm, int value) => alarm >= 0xC0 || Decode(alarm) == value;

    private byte Encode(int value) => (byte)(IsBinary ? value : ((value / 10) << 4) | (value % 10));

    private int Decode(byte value) => IsBinary ? value : ((value >> 4) * 10) + (value & 15);

    private byte EncodeHour(int hour)
    {
        if (Is24Hour)
        {
            return Encode(hour);
        }

        int twelve = hour % 12 == 0 ? 12 : hour % 12;
        return (byte)(Encode(twelve) | (hour >= 12 ? 0x80 : 0));
    }

    private int DecodeHour(byte value)
    {
        if (Is24Hour)
        {
            return Decode(value);
        }

        int hour = Decode((byte)(value & 0x7F)) % 12;
        return (value & 0x80) != 0 ? hour + 12 : hour;
    }
}
