using Hull.Cpu.Decode;
using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// Guest R9, R10 and R11, which have no host register of their own: during an instruction that names them, R11 stands for one and
/// R10, where no operand's address is in it, for another. They are loaded where the instruction reads them and stored where it
/// writes them: a store that changes nothing would make the next reader wait for it.
/// </summary>
internal sealed class SpilledRegisters(Emitter emitter)
{
    private const int None = -1;
    private const int Operand = int.MaxValue;

    // Which guest register R10 and R11 stand for, and what the instruction does with it.
    private int _inAddress;
    private int _inTemp;
    private FieldUse _addressUse;
    private FieldUse _tempUse;

    /// <summary>R11 stands for a register, or will receive one.</summary>
    internal bool TempIsBusy => _inTemp != None;

    /// <summary>True for the number of such a register.</summary>
    internal static bool Includes(int guest) => guest is >= 9 and <= 11;

    /// <summary>An instruction begins.</summary>
    /// <param name="memory">R10 has the address of its operand.</param>
    internal void Begin(bool memory)
    {
        _inAddress = memory ? Operand : None;
        _inTemp = None;
        _addressUse = FieldUse.None;
        _tempUse = FieldUse.None;
    }

    /// <summary>The host register that stands for a guest register in one field; loaded if need be.</summary>
    /// <param name="guest">9 to 11.</param>
    /// <param name="use">What is done with the register in this field.</param>
    /// <param name="isMulx">MULX, whose two destinations are the last to come.</param>
    internal int Take(int guest, FieldUse use, bool isMulx)
    {
        if (_inAddress == guest)
        {
            return Use(HostRegister.Address, guest, use, ref _addressUse);
        }

        if (_inTemp == guest || _inTemp == None)
        {
            _inTemp = guest;
            return Use(HostRegister.Temp, guest, use, ref _tempUse);
        }

        if (_inAddress == None)
        {
            _inAddress = guest;
            return Use(HostRegister.Address, guest, use, ref _addressUse);
        }

        // The last is a VEX destination, which only receives: it takes the place of a source. MULX with a memory operand has
        // two destinations and no source register; the second takes the place of the address.
        if (isMulx && _inAddress == Operand)
        {
            _inAddress = guest;
            _addressUse = FieldUse.Write;
            return HostRegister.Address;
        }

        _inTemp = guest;
        _tempUse = FieldUse.Write;
        return HostRegister.Temp;
    }

    /// <summary>The instruction is done: stores what it has written.</summary>
    internal void WriteBack()
    {
        if ((_tempUse & FieldUse.Write) != 0)
        {
            emitter.StoreState(StateLayout.GprSlot(_inTemp), HostRegister.Temp);
        }

        if ((_addressUse & FieldUse.Write) != 0)
        {
            emitter.StoreState(StateLayout.GprSlot(_inAddress), HostRegister.Address);
        }
    }

    // Of several fields that name one register any may read or write it.
    private int Use(int host, int guest, FieldUse use, ref FieldUse sofar)
    {
        if ((use & ~sofar & FieldUse.Read) != 0)
        {
            emitter.LoadState(host, StateLayout.GprSlot(guest));
        }

        sofar |= use;
        return host;
    }
}
