using System;
using Hull.Kvm;
using Xunit;

namespace Hull.Tests.Kvm;

/// <summary>What the calibration's figures are on hosts that are quiet, loaded or slow, by a clock that the test steps.</summary>
public sealed class CalibrationRoundsTests
{
    private const double ExitNs = 2000;
    private const double SliceNs = 4_000_000;

    [Theory]
    [InlineData(1.6)]
    [InlineData(3)]
    [InlineData(25)]
    [InlineData(300)]
    [InlineData(4000)]
    public void QuietHost_HasItsFigures(double million)
    {
        (CalibrationRounds rounds, double spentNs) = Measure(million, static () => 0);
        Assert.Equal(million, rounds.MillionInstructions, million * 0.01);
        Assert.Equal(ExitNs / 1e3, rounds.ExitMicroseconds, 0.01);
        Assert.True(rounds.IsSteady);
        Assert.InRange(spentNs, 0, 200e6);
    }

    [Theory]
    [InlineData(1.6)]
    [InlineData(300)]
    [InlineData(4000)]
    public void HostThatTakesTheCpuAwayEachSecondTime_HasTheSame(double million)
    {
        int turn = 0;
        (CalibrationRounds rounds, _) = Measure(million, () => turn++ % 2 == 0 ? SliceNs : 0);
        Assert.Equal(million, rounds.MillionInstructions, million * 0.01);
        Assert.True(rounds.IsSteady);
    }

    [Fact]
    public void LoadThatTakesOneRoundInFour_DoesNotMakeAGoodKvmBad()
    {
        int seed = Environment.TickCount;
        Random random = new(seed);
        for (int run = 0; run < 2000; run++)
        {
            double likelihood = random.NextDouble() / 4;
            (CalibrationRounds rounds, _) = Measure(
                500, () => random.NextDouble() < likelihood ? SliceNs * (0.5 + (10 * random.NextDouble())) : 0);
            KvmVerdict verdict = KvmVerdict.Judge(new KvmMeasurement(
                rounds.MillionInstructions, rounds.ExitMicroseconds, null, rounds.IsSteady));
            Assert.True(verdict.IsUsable, $"seed {seed}, run {run}: {verdict}");
        }
    }

    [Fact]
    public void RandomDisturbances_NeverMakeAnEmulatorGood()
    {
        int seed = Environment.TickCount;
        Random random = new(seed);
        for (int run = 0; run < 500; run++)
        {
            (CalibrationRounds rounds, _) = Measure(2, () => random.NextDouble() * SliceNs);
            Assert.True(rounds.MillionInstructions is > 0 and <= 4, $"seed {seed}, run {run}: {rounds.MillionInstructions}");
        }
    }

    [Fact]
    public void ChaoticTimes_EndTheLoopsAndAreNotSteady()
    {
        double late = 1;
        (CalibrationRounds rounds, _) = Measure(500, () => late *= 2);
        Assert.False(rounds.IsSteady);
    }

    /// <summary>Plays a guest of a speed.</summary>
    /// <param name="million">Instructions in a microsecond.</param>
    /// <param name="disturb">What comes on top of a round.</param>
    private static (CalibrationRounds Rounds, double SpentNs) Measure(double million, Func<double> disturb)
    {
        CalibrationRounds rounds = new();
        double spentNs = 0;
        double sum = 0;
        for (int question = 0; question < 100; question++)
        {
            uint loops = rounds.Next(spentNs);
            if (loops == CalibrationRounds.Stop)
            {
                return (rounds, sum);
            }

            spentNs = ExitNs + (2000.0 * loops / million) + disturb();
            sum += spentNs;
        }

        throw new InvalidOperationException("it asks for ever");
    }
}
