using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using Hull.Memory;
using Xunit;

namespace Hull.Tests.Layers;

public sealed class StaticsTests
{
    /// <summary>Statics that must be: what the process has only one of. Each row says why.</summary>
    private static readonly Dictionary<string, string> Exempt = new()
    {
    };

    [Fact]
    public void Library_HasNoMutableStatics()
    {
        string[] wrong = [.. typeof(GuestMemory).Assembly.GetTypes()
            .Where(type => !IsCompilerGenerated(type))
            .SelectMany(type => type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic
                | BindingFlags.DeclaredOnly))
            .Where(field => !field.IsLiteral && !IsGenerated(field.Name) && IsMutable(field))
            .Select(field => $"{field.DeclaringType!.FullName}.{field.Name}")
            .Where(name => !Exempt.ContainsKey(name))
            .Order(StringComparer.Ordinal)];

        Assert.True(wrong.Length == 0, "mutable statics: " + string.Join(", ", wrong));
    }

    private static bool IsMutable(FieldInfo field) =>
        !field.IsInitOnly
        || (!field.FieldType.IsArray && typeof(ICollection).IsAssignableFrom(field.FieldType)
            && field.FieldType.Namespace is not ("System.Collections.Frozen" or "System.Collections.Immutable"))
        || field.FieldType.Namespace == "System.Collections.Concurrent"
        || field.FieldType.Name.StartsWith("HashSet`", StringComparison.Ordinal)
        || field.FieldType.Name.StartsWith("ConditionalWeakTable`", StringComparison.Ordinal)
        || field.FieldType.Name.StartsWith("AsyncLocal`", StringComparison.Ordinal);

    // Names with angle brackets are the compiler's: cached delegates, backing fields of lambdas, array initialisers.
    // The backing field of a get-only property is init-only and checked like a field of our own.
    private static bool IsGenerated(string name) =>
        name.StartsWith('<') && !name.EndsWith("k__BackingField", StringComparison.Ordinal);

    private static bool IsCompilerGenerated(Type type) =>
        type.Name.StartsWith('<')
        || type.FullName!.Contains("+<", StringComparison.Ordinal)
        || type.IsDefined(typeof(CompilerGeneratedAttribute), inherit: false)
        || type.GetCustomAttributesData().Any(data => data.AttributeType.Name == "GeneratedCodeAttribute");
}
