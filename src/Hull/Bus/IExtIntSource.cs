namespace Hull.Bus;

/// <summary>What sits at LINT0 of the bootstrap processor: the 8259 pair.</summary>
internal interface IExtIntSource
{
    /// <summary>The INT output. Any thread, free of locks.</summary>
    bool Output { get; }

    /// <summary>The acknowledge cycle: the vector of the highest request, or of the spurious one.</summary>
    int AcknowledgeInterrupt();
}
