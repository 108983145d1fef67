using Iced.Intel;

namespace Hull.Tests.Oracle;

/// <summary>
/// Selectors for tests that load segment registers or ask about descriptors. The host's GDT is Linux's; the guest's has the
/// same rows as far as these selectors go. The LDT is that of <see cref="OracleSegments"/> in both.
/// </summary>
internal static class FarSegment
{
    private static readonly ushort[] Bad = [0x10, 0x18, 0x1B, 0x08, 0x1000, 0xFFF8];

    /// <summary>A selector for CS: mostly the one of the mode. Never the other mode's: the pads are not written for it.</summary>
    internal static ushort Code(OracleRandom random, bool mode32)
    {
        if (!random.OneIn(12))
        {
            return mode32 && random.OneIn(4) ? OracleSegments.CodeSelector : mode32 ? OracleLayout.UserCode32 : OracleLayout.UserCode64;
        }

        return random.Below(3) switch
        {
            0 => (ushort)random.Below(4),
            1 => OracleLayout.UserData,
            _ => Bad[random.Below(Bad.Length)],
        };
    }

    /// <summary>A selector for a data segment register or SS.</summary>
    internal static ushort Data(OracleRandom random, bool stack)
    {
        if (random.OneIn(stack ? 4 : 2))
        {
            return stack ? OracleSegments.Stack(random) : OracleSegments.Any(random);
        }

        if (random.OneIn(12))
        {
            return Bad[random.Below(Bad.Length)];
        }

        return random.Below(stack ? 24 : 4) switch
        {
            0 => (ushort)random.Below(4),
            1 => OracleLayout.UserCode64,
            2 => OracleLayout.UserCode32,
            _ => OracleLayout.UserData,
        };
    }

    /// <summary>A selector to ask about, by LAR and its kin.</summary>
    internal static ushort Any(OracleRandom random) => random.Below(4) switch
    {
        0 => Bad[random.Below(Bad.Length)],
        1 => Data(random, false),
        _ => (ushort)(OracleSegments.Any(random) & ~random.Below(4)),
    };

    /// <summary>A far branch, by memory or by an immediate, or a far return.</summary>
    internal static bool IsFar(Code code) =>
        OffsetSize(code) != 0 || code is Iced.Intel.Code.Call_ptr1616 or Iced.Intel.Code.Call_ptr1632
            or Iced.Intel.Code.Jmp_ptr1616 or Iced.Intel.Code.Jmp_ptr1632;

    /// <summary>Bytes of the offset of a far branch or return, or 0 for other instructions.</summary>
    internal static int OffsetSize(Code code) => code switch
    {
        Iced.Intel.Code.Jmp_m1616 or Iced.Intel.Code.Call_m1616 or Iced.Intel.Code.Retfw or Iced.Intel.Code.Retfw_imm16
            or Iced.Intel.Code.Iretw => 2,
        Iced.Intel.Code.Jmp_m1632 or Iced.Intel.Code.Call_m1632 or Iced.Intel.Code.Retfd or Iced.Intel.Code.Retfd_imm16
            or Iced.Intel.Code.Iretd => 4,
        Iced.Intel.Code.Jmp_m1664 or Iced.Intel.Code.Call_m1664 or Iced.Intel.Code.Retfq or Iced.Intel.Code.Retfq_imm16
            or Iced.Intel.Code.Iretq => 8,
        _ => 0,
    };
}
