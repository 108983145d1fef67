using System;
using System.Collections.Generic;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Hull.Host;

namespace Hull.Devices;

/// <summary>The JSON of <see cref="DeviceSpec"/>, generated at compile time.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.KebabCaseLower,
    UseStringEnumConverter = true,
    NumberHandling = JsonNumberHandling.AllowReadingFromString,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    GenerationMode = JsonSourceGenerationMode.Metadata)]
[JsonSerializable(typeof(DeviceSpec))]
internal sealed partial class DeviceJson : JsonSerializerContext;

/// <summary>
/// Reads devices from the command line's form, <c>KIND,NAME=VALUE,...</c>: kinds, names and types are those of the spec
/// records, so a new device needs nothing here. A switch may do without its value.
/// </summary>
public static class DeviceText
{
    /// <summary>The kinds that can be named.</summary>
    public static IReadOnlyList<string> Kinds { get; } = FindKinds();

    /// <summary>Reads a device.</summary>
    /// <param name="text">As in <c>rng,source=/dev/urandom</c>.</param>
    /// <exception cref="HullException">The kind, a name or a value is not one; the message lists what would be.</exception>
    public static DeviceSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split(',');
        return Parse(parts[0], parts.AsSpan(1), text);
    }

    /// <summary>Reads a disk: its file first, as in <c>FILE,format=raw,readonly</c>.</summary>
    /// <exception cref="HullException">A name or a value is not one; the message lists what would be.</exception>
    public static DeviceSpec ParseDisk(string text) => ParseWithFile("disk", text);

    /// <summary>Reads persistent memory: its file first, as in <c>FILE,readonly</c>.</summary>
    /// <exception cref="HullException">A name or a value is not one; the message lists what would be.</exception>
    public static DeviceSpec ParsePmem(string text) => ParseWithFile("pmem", text);

    /// <summary>
    /// Reads a network card: its network first, as in <c>user,queues=2</c> (the user's own), <c>tap=NAME</c> or
    /// <c>unplugged</c>.
    /// </summary>
    /// <exception cref="HullException">A name or a value is not one; the message lists what would be.</exception>
    public static DeviceSpec ParseNet(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split(',');
        return parts[0] == "user" ? Parse("net", parts.AsSpan(1), text)
            : parts[0] == "unplugged" || parts[0].StartsWith("tap=", StringComparison.Ordinal) ? Parse("net", parts, text)
            : throw new HullException($"--net '{text}': give user, none or tap=NAME");
    }

    /// <summary>A device as JSON, for <see cref="FromJson"/>.</summary>
    public static string ToJson(DeviceSpec spec) => JsonSerializer.Serialize(spec, DeviceJson.Default.DeviceSpec);

    /// <summary>Reads a device from JSON.</summary>
    /// <exception cref="HullException">It is none.</exception>
    public static DeviceSpec FromJson(string json)
    {
        try
        {
            return JsonSerializer.Deserialize(json, DeviceJson.Default.DeviceSpec)
                ?? throw new HullException("no device");
        }
        catch (JsonException e)
        {
            throw new HullException($"no device: {FirstSentence(e.Message)}");
        }
    }

    /// <summary>The kind of a device.</summary>
    internal static string KindOf(DeviceSpec spec)
    {
        foreach (JsonDerivedType derived in DeviceJson.Default.DeviceSpec.PolymorphismOptions!.DerivedTypes)
        {
            if (derived.DerivedType == spec.GetType())
            {
                return (string)derived.TypeDiscriminator!;
            }
        }

        throw new System.Diagnostics.UnreachableException(spec.GetType().Name);
    }

    private static DeviceSpec ParseWithFile(string kind, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split(',');
        parts[0] = "file=" + parts[0];
        return Parse(kind, parts, text);
    }

    private static DeviceSpec Parse(string kind, ReadOnlySpan<string> options, string text)
    {
        JsonTypeInfo type = FindType(kind)
            ?? throw new HullException($"'{kind}' is no device: give one of {string.Join(", ", Kinds)}");
        JsonObject json = new() { ["kind"] = kind };
        foreach (string option in options)
        {
            int equals = option.IndexOf('=', StringComparison.Ordinal);
            string name = equals < 0 ? option : option[..equals];
            JsonPropertyInfo property = Find(type, name)
                ?? throw new HullException($"'{name}' in '{text}': a {kind} device has {Names(type)}");
            json[name] = ToJson(property, equals < 0 ? null : option[(equals + 1)..], text);
        }

        try
        {
            return json.Deserialize(DeviceJson.Default.DeviceSpec)!;
        }
        catch (JsonException e)
        {
            throw new HullException($"'{text}' is no {kind} device: {FirstSentence(e.Message)}");
        }
    }

    private static JsonNode ToJson(JsonPropertyInfo property, string? value, string text)
    {
        if (property.PropertyType != typeof(bool))
        {
            return value ?? throw new HullException($"'{text}': {property.Name} needs a value: {property.Name}=...");
        }

        return value switch
        {
            null or "on" or "true" => true,
            "off" or "false" => false,
            _ => throw new HullException($"'{text}': {property.Name} is on or off"),
        };
    }

    private static List<string> FindKinds()
    {
        List<string> kinds = [];
        foreach (JsonDerivedType derived in DeviceJson.Default.DeviceSpec.PolymorphismOptions!.DerivedTypes)
        {
            kinds.Add((string)derived.TypeDiscriminator!);
        }

        return kinds;
    }

    private static JsonTypeInfo? FindType(string kind)
    {
        foreach (JsonDerivedType derived in DeviceJson.Default.DeviceSpec.PolymorphismOptions!.DerivedTypes)
        {
            if (kind.Equals(derived.TypeDiscriminator))
            {
                return DeviceJson.Default.GetTypeInfo(derived.DerivedType);
            }
        }

        return null;
    }

    private static JsonPropertyInfo? Find(JsonTypeInfo type, string name)
    {
        foreach (JsonPropertyInfo property in type.Properties)
        {
            if (property.Name == name && IsOption(property))
            {
                return property;
            }
        }

        return null;
    }

    // What JSON leaves out is no setting.
    private static bool IsOption(JsonPropertyInfo property) => property.Get is not null;

    private static string Names(JsonTypeInfo type)
    {
        List<string> names = [];
        foreach (JsonPropertyInfo property in type.Properties)
        {
            if (IsOption(property))
            {
                names.Add(property.Name);
            }
        }

        return string.Join(", ", names);
    }

    private static string FirstSentence(string message)
    {
        int end = message.IndexOf(". ", StringComparison.Ordinal);
        return end < 0 ? message : message[..end];
    }
}
