using System;
using System.Collections.Generic;
using System.Globalization;
using Xunit;
using Xunit.Abstractions;

namespace Hull.Tests.Steps;

/// <summary>
/// The same random program translated in whole blocks and one instruction a block: registers and RAM are equal at every
/// checkpoint. A failing seed is followed to its first instruction. Longer: <c>HULL_STEPS_PROGRAMS</c>, from
/// <c>HULL_STEPS_SEED</c> on.
/// </summary>
public sealed class BlocksAgainstStepsTests(ITestOutputHelper output)
{
    private const long Length = 20_000;
    private const long Period = 1000;

    [Theory]
    [InlineData(ProgramMode.Long)]
    [InlineData(ProgramMode.Flat32)]
    [InlineData(ProgramMode.Based32)]
    [InlineData(ProgramMode.Code16)]
    public void RandomPrograms_AreTheSameInBlocksAndInSteps(ProgramMode mode)
    {
        string? wish = Environment.GetEnvironmentVariable("HULL_STEPS_PROGRAMS");
        int programs = wish is null ? 12 : int.Parse(wish, CultureInfo.InvariantCulture);
        string? given = Environment.GetEnvironmentVariable("HULL_STEPS_SEED");
        ulong seed = given is null ? (ulong)Environment.TickCount64 : ulong.Parse(given, CultureInfo.InvariantCulture);
        for (int i = 0; i < programs; i++, seed++)
        {
            Compare(mode, seed, 64);
            Compare(mode, seed, 5);
        }

        output.WriteLine($"{programs} programs of {Length} instructions, the last one of seed {seed - 1}");
    }

    // Looking does not disturb: the stops cut blocks where they would not be cut.
    [Theory]
    [InlineData(ProgramMode.Long)]
    [InlineData(ProgramMode.Code16)]
    public void MoreCheckpoints_ChangeNothing(ProgramMode mode)
    {
        RandomProgram program = new(mode, 77);
        Checkpoint few = Run(program, 77, 64, 0, Length, Length)[^1];
        Checkpoint many = Run(program, 77, 64, 0, 13, 19_994)[^1];
        Checkpoint other = Run(program, 77, 64, 19_994, 1, 19_994)[^1];
        Assert.Equal(Length, few.Instructions);
        Assert.Equal(other, many);
        Assert.NotEqual(few.Registers, many.Registers);
    }

    private void Compare(ProgramMode mode, ulong seed, int limit)
    {
        RandomProgram program = new(mode, seed);
        List<Checkpoint> blocks = Run(program, seed, limit, 0, Period, Length);
        List<Checkpoint> steps = Run(program, seed, 1, 0, Period, Length);
        int index = Difference(blocks, steps);
        if (index < 0)
        {
            return;
        }

        // A run that stops at every instruction never runs a whole block, so each step of the search is a run to one stop.
        long good = Math.Max(0, index - 1) * Period;
        long bad = index * Period;
        while (bad - good > 1)
        {
            long middle = (good + bad) / 2;
            bool same = Run(program, seed, limit, middle, 1, middle)[0] == Run(program, seed, 1, middle, 1, middle)[0];
            (good, bad) = same ? (middle, bad) : (good, middle);
        }

        output.WriteLine($"{mode}, seed {seed}, blocks of {limit}: {good} instructions are equal, {bad} are not");
        Describe("before", program, seed, 1, good);
        Describe("blocks", program, seed, limit, bad);
        Describe("steps ", program, seed, 1, bad);
        Assert.Fail($"{mode}, seed {seed}, blocks of {limit}: {good} instructions are equal, {bad} are not");
    }

    private void Describe(string what, RandomProgram program, ulong seed, int limit, long at)
    {
        using StepMachine machine = new(program, seed, limit);
        machine.Run(at, 1, at);
        output.WriteLine($"{what}: {machine.Describe()}");
    }

    private static List<Checkpoint> Run(RandomProgram program, ulong seed, int limit, long from, long period, long until)
    {
        using StepMachine machine = new(program, seed, limit);
        return machine.Run(from, period, until);
    }

    private static int Difference(List<Checkpoint> a, List<Checkpoint> b)
    {
        for (int i = 0; i < Math.Min(a.Count, b.Count); i++)
        {
            if (a[i] != b[i])
            {
                return i;
            }
        }

        return a.Count == b.Count ? -1 : Math.Min(a.Count, b.Count);
    }
}
