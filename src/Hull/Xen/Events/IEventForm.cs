namespace Hull.Xen.Events;

/// <summary>How events are told: bits and words in guest memory.</summary>
internal interface IEventForm
{
    /// <summary>Sets the event pending and tells the vCPU if it is to know.</summary>
    void SetPending(EventPort port);

    /// <summary>Clears the mask and tells the vCPU if the event is pending.</summary>
    void Unmask(EventPort port);

    /// <summary>Forgets a pending event.</summary>
    void Clear(EventPort port);

    /// <summary>The event is pending.</summary>
    bool IsPending(EventPort port);

    /// <summary>The event is masked.</summary>
    bool IsMasked(EventPort port);
}
