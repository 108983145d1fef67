using System.Text.Json.Serialization;
using Hull.Cli.Commands;
using Hull.Cli.Control;
using Hull.Cli.Run;
using Hull.Devices;
using Hull.Storage;
using Hull.Xen;

namespace Hull.Cli;

/// <summary>The JSON that the command line prints, generated at compile time.</summary>
[JsonSourceGenerationOptions(
    WriteIndented = true,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    UseStringEnumConverter = true)]
[JsonSerializable(typeof(VersionReport))]
[JsonSerializable(typeof(DoctorReport))]
[JsonSerializable(typeof(DiskReport))]
[JsonSerializable(typeof(CheckReport))]
[JsonSerializable(typeof(GuestReport[]))]
[JsonSerializable(typeof(DeviceReport[]))]
[JsonSerializable(typeof(XenView))]
[JsonSerializable(typeof(GuestMemoryStatistics))]
internal sealed partial class CliJson : JsonSerializerContext;

/// <summary>As <see cref="CliJson"/>, on one line.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(StatJson))]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlAnswer))]
internal sealed partial class LineJson : JsonSerializerContext;
