using Hull.Cpu.State;

namespace Hull.Cpu.Translate;

/// <summary>
/// Where the six arithmetic flags are while a block is written, and the code that moves them between the host's and the state's
/// first word.
/// </summary>
internal sealed class FlagMoves(Emitter e)
{
    /// <summary>Where they are now.</summary>
    internal FlagPlace Place { get; set; }

    /// <summary>The next emitted code destroys host flags, or C# may look: bring the flags to the state.</summary>
    internal void ToMemory()
    {
        if (Place == FlagPlace.Host)
        {
            EmitSave();
        }

        Place = FlagPlace.Memory;
    }

    /// <summary>The next instruction reads flags: bring them to the host's.</summary>
    /// <param name="tempIsBusy">R11 holds an operand.</param>
    internal void ToHost(bool tempIsBusy = false)
    {
        if (Place == FlagPlace.Memory)
        {
            EmitLoad(tempIsBusy);
            Place = FlagPlace.Both;
        }
    }

    /// <summary>
    /// The host's flags to the state, by way of AX: PUSHFQ is microcode, four cycles in which nothing else starts, and these
    /// five together take one. R11 is lost.
    /// <code>
    ///   mov  r11, rax
    ///   lahf
    ///   seto al
    ///   mov  [FlagWord], ax
    ///   mov  rax, r11
    /// </code>
    /// </summary>
    internal void EmitSave()
    {
        e.Move(HostRegister.Temp, HostRegister.Rax);
        e.Byte(0x9F);
        e.Bytes(0x0F, 0x90, 0xC0);
        e.Byte(0x66);
        e.State(false, 0x89, HostRegister.Rax, StateLayout.FlagWord);
        e.Move(HostRegister.Rax, HostRegister.Temp);
    }

    /// <summary>
    /// Loads the six flags from the state without touching a guest register: OF through an addition that overflows
    /// exactly when AL is 1, the others through SAHF.
    /// </summary>
    internal void EmitLoad(bool tempIsBusy)
    {
        if (tempIsBusy)
        {
            e.StoreState(StateLayout.Scratch0, HostRegister.Rax);
        }
        else
        {
            e.Move(HostRegister.Temp, HostRegister.Rax);
        }

        e.State(false, 0x0FB7, HostRegister.Rax, StateLayout.FlagWord);
        e.Bytes(0x04, 0x7F);                                    // add al, 127
        e.Byte(0x9E);                                           // sahf
        if (tempIsBusy)
        {
            e.LoadState(HostRegister.Rax, StateLayout.Scratch0);
        }
        else
        {
            e.Move(HostRegister.Rax, HostRegister.Temp);
        }
    }
}
