using System.Collections.Generic;
using System.Reflection;
using Hull.Tests.Kvm;
using Xunit.Sdk;

namespace Hull.Tests;

/// <summary>
/// Runs a theory about a guest on every engine that this host has; the test's name says on which. The first argument is
/// the <see cref="EngineKind"/>.
/// </summary>
internal sealed class EveryEngineAttribute : DataAttribute
{
    /// <summary>The guest takes interrupts in protected mode, which a KVM that emulates kernel code does not deliver.</summary>
    public bool TakesInterrupts { get; set; }

    public override IEnumerable<object[]> GetData(MethodInfo testMethod) =>
        (TakesInterrupts ? KvmHost.WhyNotOnTheCpu : KvmHost.WhyNot).Value is null
        ? [[EngineKind.Soft], [EngineKind.Kvm]]
        : [[EngineKind.Soft]];
}
