using System;
using System.Collections.Generic;
using System.Linq;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Layers;

public sealed class LayerTests
{
    [Fact]
    public void EveryModule_IsInTheTable()
    {
        string[] unknown = [.. Modules().Where(module => module != LayerTable.Root
            && !LayerTable.Allowed.ContainsKey(module)).Distinct().Order()];

        Assert.True(unknown.Length == 0, $"modules without a row in LayerTable: {string.Join(", ", unknown)}");
    }

    [Fact]
    public void EveryMention_GoesDownwards()
    {
        string[] wrong = [.. LibraryMentions()
            .Where(mention => LayerTable.ModuleOf(mention.ToNamespace) is string to
                && !LayerTable.MayMention(LayerTable.ModuleOf(mention.FromNamespace) ?? LayerTable.Root, to))
            .Select(mention => $"{mention.FromNamespace}.{mention.FromType} mentions {mention.ToNamespace}.{mention.ToType}")
            .Order(StringComparer.Ordinal)];

        Assert.True(wrong.Length == 0, string.Join(Environment.NewLine, wrong));
    }

    [Fact]
    public void TheTable_HasNoCycle()
    {
        HashSet<string> done = [];
        while (done.Count < LayerTable.Allowed.Count)
        {
            string? next = LayerTable.Allowed.Keys.FirstOrDefault(module =>
                !done.Contains(module) && LayerTable.Allowed[module].All(done.Contains));
            Assert.True(next is not null, "these modules mention each other: "
                + string.Join(", ", LayerTable.Allowed.Keys.Where(module => !done.Contains(module))));
            done.Add(next);
        }
    }

    [Fact]
    public void NoEngineOrDevice_SaysXen()
    {
        string[] wrong = [.. LibraryMentions()
            .Where(mention => LayerTable.ModuleOf(mention.FromNamespace) is "Cpu" or "Kvm" or "Engine" or "Devices")
            .Select(mention => mention.FromType)
            .Where(name => name.Contains("Xen", StringComparison.Ordinal))
            .Distinct()];

        Assert.Empty(wrong);
    }

    [Fact]
    public void ConcreteEngines_AreNamedByTheFacadeOnly()
    {
        string[] wrong = [.. LibraryMentions()
            .Where(mention => LayerTable.ModuleOf(mention.ToNamespace) is "Cpu" or "Kvm"
                && LayerTable.ModuleOf(mention.FromNamespace) != LayerTable.ModuleOf(mention.ToNamespace)
                && LayerTable.ModuleOf(mention.FromNamespace) != LayerTable.Root)
            .Select(mention => $"{mention.FromType} mentions {mention.ToType}")];

        Assert.Empty(wrong);
    }

    private static HashSet<Mention> LibraryMentions()
    {
        using AssemblyReferences references = new(typeof(GuestMemory).Assembly.Location);
        return references.ReadMentions();
    }

    private static IEnumerable<string> Modules() => typeof(GuestMemory).Assembly.GetTypes()
        .Select(type => type.Namespace is string ns ? LayerTable.ModuleOf(ns) : null)
        .OfType<string>();
}
