using System;

namespace Hull.Kvm;

/// <summary>
/// What the calibration guest is asked to do, from how long it took for the last: exits alone, then short loops, then, where
/// those were quick, long ones. Whatever disturbs a measurement makes it slower, so of several rounds the quickest counts;
/// and it is believed when another one was about as quick.
/// </summary>
internal sealed class CalibrationRounds
{
    /// <summary>The answer that ends the loops.</summary>
    internal const uint Stop = uint.MaxValue;

    private const int Exits = 24;
    private const int FewestRounds = 3;
    private const int MostRounds = 12;
    private const uint ShortLoop = 1000;
    private const uint LongLoop = 20_000;
    private const int InstructionsInALoop = 2;
    private const double SlowNs = 1_000_000;
    private const double About = 1.5;
    private const double Plenty = 100;

    private Quickest _exit;
    private Quickest _loop;
    private uint _loopLength;
    private int _questions;

    /// <summary>Simple instructions in a second, in millions; 0: no loop has ended.</summary>
    /// <remarks>A loop's time has an exit in it, but no more than half: exits may have been the more disturbed ones.</remarks>
    internal double MillionInstructions => _loop.Count == 0
        ? 0
        : (double)InstructionsInALoop * _loopLength / Math.Max(_loop.Best - _exit.Best, _loop.Best / 2) * 1e3;

    /// <summary>An exit to user space and back.</summary>
    internal double ExitMicroseconds => _exit.Count == 0 ? 0 : _exit.Best / 1e3;

    /// <summary>The figures are no accident: each was about reached twice.</summary>
    internal bool IsSteady => _exit.IsSteady && (_loop.Count == 0 || _loop.IsSteady);

    /// <summary>The next number of iterations; 0: an exit alone.</summary>
    /// <param name="spentNs">Since the last answer.</param>
    internal uint Next(double spentNs)
    {
        int question = _questions++;
        if (question == 0)
        {
            return 0; // this question started the clock
        }

        if (question <= Exits)
        {
            _exit.Add(spentNs);
            return question < Exits ? 0 : Begin(ShortLoop);
        }

        _loop.Add(spentNs);
        if (_loopLength == ShortLoop && _loop.Best <= SlowNs)
        {
            return Begin(LongLoop);
        }

        // A good figure needs no more; a bad one might be the host's load.
        bool isGood = _loop.IsSteady && MillionInstructions >= Plenty;
        return _loop.Count >= (isGood ? FewestRounds : MostRounds) ? Stop : _loopLength;
    }

    private uint Begin(uint length)
    {
        _loop = default;
        return _loopLength = length;
    }

    /// <summary>The two shortest of some times.</summary>
    private struct Quickest
    {
        private double _second;

        internal int Count { get; private set; }

        internal double Best { get; private set; }

        internal readonly bool IsSteady => Count > 1 && _second <= Best * About;

        internal void Add(double ns)
        {
            if (Count == 0 || ns < Best)
            {
                _second = Best;
                Best = ns;
            }
            else if (Count == 1 || ns < _second)
            {
                _second = ns;
            }

            Count++;
        }
    }
}
