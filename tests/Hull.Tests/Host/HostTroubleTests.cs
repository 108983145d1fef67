using System.Collections.Generic;
using Hull.Host;
using Xunit;

namespace Hull.Tests.Host;

public sealed class HostTroubleTests
{
    private readonly List<string> _lines = [];
    private readonly HostTrouble _trouble;
    private long _now;

    public HostTroubleTests() => _trouble = new HostTrouble(_lines.Add, "the disk", () => _now);

    [Fact]
    public void FailureAndItsEnd_AreALineEach()
    {
        _trouble.Failed("full");
        _trouble.Failed("full");
        _trouble.Worked();
        _trouble.Worked();

        Assert.Equal(["the disk fails: full", "the disk works again"], _lines);
    }

    [Fact]
    public void OneThatComesAndGoes_IsNotSaidEachTime()
    {
        for (int i = 0; i < 100; i++)
        {
            _trouble.Failed("full");
            _trouble.Worked();
            _now += 90;
        }

        Assert.Equal(["the disk fails: full", "the disk works again"], _lines);
    }

    [Fact]
    public void OneThatCameTooSoon_IsSaidWhenItStillFails()
    {
        _trouble.Failed("full");
        _trouble.Worked();
        _trouble.Failed("full again");
        _now = HostTrouble.QuietMs;
        _trouble.Failed("full still");
        _trouble.Worked();

        Assert.Equal(["the disk fails: full", "the disk works again", "the disk fails: full still", "the disk works again"], _lines);
    }
}
