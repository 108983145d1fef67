using System;
using System.Collections.Immutable;
using System.Linq;
using Hull.Host;

namespace Hull.Engine;

/// <summary>
/// The CPU that a guest is shown: a base (all that the host has and the engine does, or a micro-architecture level of
/// the System V ABI), then features added and hidden in the order of the list. See docs/cpu-models.md.
/// </summary>
public sealed record CpuModel
{
    private readonly int _level;
    private readonly ImmutableArray<Wish> _wishes = [];

    private CpuModel(string text, int level, ImmutableArray<Wish> wishes)
    {
        Text = text;
        _level = level;
        _wishes = wishes;
    }

    /// <summary>What the host has and the engine does.</summary>
    public static CpuModel HostSafe { get; } = new("host-safe", 0, []);

    /// <summary>The model as the user wrote it.</summary>
    public string Text { get; }

    /// <summary>Reads "host-safe", "x86-64-v1" to "x86-64-v3" (or "v1" to "v3"), and lists: "v3,-avx2,+sha_ni".</summary>
    /// <exception cref="HullException">A word means nothing; the message names it.</exception>
    public static CpuModel Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] words = text.Split(',');
        int first = 1;
        int level = 0;
        switch (words[0])
        {
            case "host-safe":
                break;
            case "x86-64-v1" or "v1":
                level = 1;
                break;
            case "x86-64-v2" or "v2":
                level = 2;
                break;
            case "x86-64-v3" or "v3":
                level = 3;
                break;
            case ['+' or '-', ..]:
                first = 0;
                break;
            default:
                throw new HullException(
                    $"--cpu '{words[0]}': give host-safe, x86-64-v1, x86-64-v2 or x86-64-v3, then +FEATURE or -FEATURE");
        }

        return new CpuModel(text, level, [.. words[first..].Select(ParseWish).OfType<Wish>()]);
    }

    /// <summary>The features that the guest gets.</summary>
    /// <param name="available">What the host has and the engine does.</param>
    /// <param name="owner">Who has no more than that, for the message.</param>
    /// <exception cref="HullException">A wish cannot be granted; the message names it.</exception>
    internal CpuFeatureSet Resolve(CpuFeatureSet available, string owner = "this host's CPU")
    {
        CpuFeatureSet set = _level == 0 ? available : Level(available, owner);
        foreach (Wish wish in _wishes)
        {
            set = wish.Add ? Add(set, wish.Feature, available, owner) : CpuFeatures.Hide(set, wish.Feature);
        }

        foreach (Wish wish in _wishes)
        {
            if (set.Has(wish.Feature) != wish.Add)
            {
                throw new HullException($"--cpu '{Text}': {wish} contradicts another wish of the list");
            }
        }

        return set;
    }

    private static Wish? ParseWish(string word)
    {
        if (word is not (['+' or '-', _, ..]))
        {
            throw new HullException($"--cpu '{word}': write +FEATURE or -FEATURE, with a name of /proc/cpuinfo");
        }

        string name = word[1..];
        bool add = word[0] == '+';
        if (CpuFeatures.Fixed.Contains(name))
        {
            return add ? null : throw new HullException($"--cpu {word}: every CPU that Hull shows has {name}");
        }

        CpuFeatureRow row = CpuFeatures.Find(name)
            ?? throw new HullException($"--cpu {word}: Hull's engines have no CPU feature '{name}'");
        return new Wish(row.Feature, add);
    }

    private static CpuFeatureSet Add(CpuFeatureSet set, CpuFeature feature, CpuFeatureSet available, string owner)
    {
        CpuFeatureRow row = CpuFeatures.Row(feature);
        if (!available.Has(feature))
        {
            throw new HullException($"--cpu +{row.Names[0]}: {owner} has no {row.Names[0]}");
        }

        return (row.Needs is CpuFeature needed ? Add(set, needed, available, owner) : set).With(feature);
    }

    // A level hides the instruction sets of applications above it; the system's features stay as they are.
    private CpuFeatureSet Level(CpuFeatureSet available, string owner)
    {
        CpuFeatureSet set = default;
        foreach (CpuFeatureRow row in CpuFeatures.All)
        {
            if (row.Level > 0 && row.Level <= _level)
            {
                bool hidden = _wishes.Any(wish => !wish.Add && (wish.Feature == row.Feature || wish.Feature == row.Needs));
                if (!available.Has(row.Feature) && !hidden)
                {
                    throw new HullException(
                        $"--cpu x86-64-v{_level}: {owner} has no {row.Names[0]}; choose a lower level");
                }
            }

            bool wanted = row.Level < 0 || (row.Level > 0 && row.Level <= _level);
            set = wanted && available.Has(row.Feature) ? set.With(row.Feature) : set;
        }

        return set;
    }

    private readonly record struct Wish(CpuFeature Feature, bool Add)
    {
        public override string ToString() => (Add ? "+" : "-") + CpuFeatures.Row(Feature).Names[0];
    }
}
