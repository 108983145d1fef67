namespace Hull.Engine;

/// <summary>A number that explains speed, with its name as it is printed: words joined by hyphens.</summary>
public readonly record struct EngineCounter(string Name, ulong Value);
