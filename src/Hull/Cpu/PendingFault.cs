namespace Hull.Cpu;

/// <summary>An exception on its way to the guest. SDM vol. 3A, "Exception and Interrupt Reference".</summary>
internal readonly record struct PendingFault(byte Vector, bool HasErrorCode, uint ErrorCode);
