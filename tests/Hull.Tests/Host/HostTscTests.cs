using System;
using System.IO;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Host;

public sealed class HostTscTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-tsc-").FullName;

    [Theory]
    [InlineData("tsc kvm-clock hpet acpi_pm \n", true)]
    [InlineData("kvm-clock tsc\n", true)]
    [InlineData("hpet acpi_pm \n", false)]
    [InlineData("tsc-early hpet \n", false)]
    public void CountersAreStable_WhereLinuxTellsTimeByThem(string list, bool expected)
    {
        string file = Path.Combine(_folder, "available_clocksource");
        File.WriteAllText(file, list);
        Assert.Equal(expected, HostTsc.IsStable(file));
    }

    [Fact]
    public void HostWithoutAList_IsTakenToBeWell() => Assert.True(HostTsc.IsStable(Path.Combine(_folder, "none")));

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
