using System.Threading;
using Hull.Bus;
using Hull.Platform;

namespace Hull.Devices.Irq;

/// <summary>
/// The interrupt wiring of the board: who drives which input of the 8259s and of the I/O APIC. Several lines may share
/// an input, which is then asserted while any of them is.
/// </summary>
internal sealed class InterruptInputs
{
    private readonly PicPair _pic;
    private readonly IoApic _ioApic;
    private readonly Input[] _inputs = new Input[PlatformMap.IoApicInputs];

    /// <summary>Wires the controllers.</summary>
    internal InterruptInputs(PicPair pic, IoApic ioApic)
    {
        _pic = pic;
        _ioApic = ioApic;
        for (int i = 0; i < _inputs.Length; i++)
        {
            _inputs[i] = new Input();
        }
    }

    /// <summary>A line at ISA interrupt 0-15: the 8259 and the I/O APIC, where interrupt 0 arrives at input 2.</summary>
    internal IrqLine CreateIsaLine(int irq) => new(level => Drive(_inputs[irq], irq, irq == 0 ? 2 : irq, level));

    /// <summary>A line at an input of the I/O APIC alone (PCI INTx).</summary>
    internal IrqLine CreateIoApicLine(int input) => new(level => Drive(_inputs[input], -1, input, level));

    private void Drive(Input input, int isa, int ioApicInput, bool level)
    {
        // Held while the controllers are called, so that they see the changes in order; they never call back here.
        lock (input.Lock)
        {
            input.Asserted += level ? 1 : -1;
            bool changed = input.Asserted == (level ? 1 : 0);
            if (!changed)
            {
                return;
            }

            if (isa >= 0)
            {
                _pic.SetInput(isa, level);
            }

            _ioApic.SetInput(ioApicInput, level);
        }
    }

    private sealed class Input
    {
        internal Lock Lock { get; } = new();

        internal int Asserted { get; set; }
    }
}
