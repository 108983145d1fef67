namespace Hull.Cpu;

/// <summary>
/// Links between pages are good only while translations stay: what is done to them when translations go. docs/smp.md, "Links
/// between pages".
/// </summary>
internal sealed class CrossLinks(SoftEngine engine)
{
    /// <summary>All translations were flushed.</summary>
    internal void Cut()
    {
        lock (engine.CodeLock)
        {
            engine.Cache.CutCrossLinks();
            engine.SharedKernel.Clear();
        }
    }

    /// <summary>A page's translation was flushed.</summary>
    internal void Cut(ulong linear)
    {
        if (engine.Cache.MayHaveCrossLinks(linear))
        {
            lock (engine.CodeLock)
            {
                engine.Cache.CutCrossLinks(linear);
            }
        }
    }

    /// <summary>CR3 was written: links that other vCPUs have made may not be good for this one.</summary>
    internal void Check(SoftVcpu vcpu)
    {
        if (!engine.IsShared)
        {
            return;
        }

        lock (engine.CodeLock)
        {
            if (!engine.SharedKernel.IsShared(vcpu))
            {
                engine.Cache.CutCrossLinks();
                engine.SharedKernel.Clear();
            }
        }
    }
}
