using Xunit;

namespace Hull.Tests;

/// <summary>Tests that look at the whole process's memory: no other test runs meanwhile.</summary>
[CollectionDefinition("Alone", DisableParallelization = true)]
public sealed class AloneCollection;
