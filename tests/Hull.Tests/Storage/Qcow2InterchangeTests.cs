using System;
using System.Globalization;
using Xunit;

namespace Hull.Tests.Storage;

/// <summary>Images go back and forth between Hull and QEMU's tools.</summary>
public sealed class Qcow2InterchangeTests
{
    [QemuFact]
    public void RandomSequences_GiveWhatQemuSays() => Run(new Random().Next(), 15);

    [QemuFact]
    [Trait("Category", "Long")]
    public void ManyRandomSequences_GiveWhatQemuSays() => Run(1, Count("HULL_QCOW2_SEQUENCES", 500));

    internal static int Count(string variable, int usual) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out int count) ? count : usual;

    private static void Run(int first, int count)
    {
        for (int seed = first; seed < first + count; seed++)
        {
            using ImageFolder folder = new();
            try
            {
                new Qcow2Sequence(seed, folder).Run();
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                throw new InvalidOperationException($"seed {seed}: {e.Message}", e);
            }
        }
    }
}
