using System.Runtime.CompilerServices;
using Hull.Cpu.State;

namespace Hull.Cpu.Mmu;

/// <summary>
/// The two jump caches, the supervisor's and the user's, from rip to generated code, behind <see cref="CpuState"/>. Tags are
/// rip XOR key, so a new key empties a cache at once. See docs/translator.md, "Links".
/// </summary>
internal sealed unsafe class JumpCaches
{
    /// <summary>Where keys lie: 48 bits of an address are significant.</summary>
    internal const int KeyShift = 48;

    /// <summary>
    /// The largest key, before the shift. Bit 63 tells the halves of the address space apart; see <see cref="NewKey"/>.
    /// </summary>
    internal const ulong LastGeneration = 0x3FFF;

    private readonly CpuState* _cpu;
    private readonly AddressSpaces _spaces;
    private readonly VictimJumps _victims = new();

    // The pages that lines stand for, by their linear addresses.
    private readonly PageFilter _userPages = new(15);
    private readonly PageFilter _supervisorPages = new(15);
    private ulong _generation;

    /// <summary>Makes the caches.</summary>
    /// <param name="cpu">The vCPU's state.</param>
    /// <param name="spaces">Keeps the user's keys of other address spaces.</param>
    internal JumpCaches(CpuState* cpu, AddressSpaces spaces)
    {
        _cpu = cpu;
        _spaces = spaces;
    }

    /// <summary>Times that a cache, or both, were emptied for another reason than a write to CR3.</summary>
    internal ulong Flushes { get; private set; }

    /// <summary>The supervisor's cache has code from pages that are not global.</summary>
    internal bool HasLocalSupervisorCode { get; private set; }

    /// <summary>Enters a block. Under the code lock, by the vCPU itself.</summary>
    /// <param name="rip">Its address in the code segment.</param>
    /// <param name="linear">Its linear address.</param>
    /// <param name="pages">How many pages its bytes lie in: 1 or 2.</param>
    /// <param name="user">The block is for CPL 3.</param>
    /// <param name="global">Its translation is global.</param>
    /// <param name="entry">The code.</param>
    internal void Fill(ulong rip, ulong linear, int pages, bool user, bool global, byte* entry)
    {
        PageFilter filter = user ? _userPages : _supervisorPages;
        for (int page = 0; page < pages; page++)
        {
            filter.Add((linear >> 12) + (uint)page);
        }

        JumpEntry* line = Line(rip, user);
        line->Tag = rip ^ Key(user);
        line->Host = (ulong)entry;
        _victims.Fill(rip, user, line->Tag, line->Host);
        HasLocalSupervisorCode |= !user && !global;
    }

    /// <summary>Looks a block up; null when it is not there. By the vCPU itself.</summary>
    internal byte* Find(ulong rip, bool user)
    {
        JumpEntry* line = Line(rip, user);
        return line->Tag == (rip ^ Key(user)) ? (byte*)line->Host : null;
    }

    /// <summary>
    /// Looks a block up that lost its line, and gives it back; null when it is not known. Under the code lock, so that
    /// nobody forgets the block meanwhile.
    /// </summary>
    internal byte* Recall(ulong rip, bool user)
    {
        ulong tag = rip ^ Key(user);
        ulong host = _victims.Find(rip, user, tag);
        if (host != 0)
        {
            JumpEntry* line = Line(rip, user);
            line->Tag = tag;
            line->Host = host;
        }

        return (byte*)host;
    }

    /// <summary>
    /// Forgets a block that is going away. Any thread, under the code lock, as filling is: generated code may have
    /// compared the tag already, so the code's address stays. The new tag is the rip without a key, which nothing hits.
    /// </summary>
    internal void Drop(ulong rip, bool user, byte* entry)
    {
        JumpEntry* line = Line(rip, user);
        if (line->Host == (ulong)entry)
        {
            line->Tag = rip;
        }

        _victims.Drop(rip, user, (ulong)entry);
    }

    /// <summary>Empties both caches.</summary>
    internal void Flush()
    {
        Flushes++;
        EmptySupervisor();
        EmptyUser();
    }

    /// <summary>Another address space, of which nothing is kept.</summary>
    internal void FlushNonGlobal()
    {
        if (HasLocalSupervisorCode)
        {
            Flush();
        }
        else
        {
            NewKey(true);
        }
    }

    /// <summary>
    /// A linear page is forgotten. Most pages that a kernel flushes hold data: a cache is emptied only if one of its lines may
    /// stand for code there.
    /// </summary>
    internal void FlushPage(ulong linear)
    {
        bool user = _userPages.MayHave(linear >> 12);
        bool supervisor = _supervisorPages.MayHave(linear >> 12);
        Flushes += user || supervisor ? 1u : 0;
        if (user)
        {
            EmptyUser();
        }

        if (supervisor)
        {
            EmptySupervisor();
        }
    }

    /// <summary>An address space comes back, with the key that it had.</summary>
    internal void UseUserKey(ulong key) => SetKey(true, key);

    private void EmptySupervisor()
    {
        HasLocalSupervisorCode = false;
        _supervisorPages.Clear();
        NewKey(false);
    }

    private void EmptyUser()
    {
        // The filter knows no address spaces: those that are kept go with it.
        _userPages.Clear();
        _spaces.ForgetAll();
        NewKey(true);
    }

    // All bits of a key choose the line as well: they are added where they are not lost (StateLayout.JumpIndex, TlbTests). So a
    // tag that was made with one key cannot be hit in its line with another, whatever rip a guest jumps to: the rip that would
    // match is looked for in another line. An rip without a key counts as tagged with key 0, which is never in use.
    private void NewKey(bool user)
    {
        if (_generation == LastGeneration)
        {
            // Keys start again: nothing tagged with an old one may be left.
            _generation = 0;
            Unsafe.InitBlock((byte*)_cpu + StateLayout.JumpCacheBase, 0, 2 * StateLayout.JumpCacheBytes);
            _victims.Clear();
            _spaces.ForgetAll();
            HasLocalSupervisorCode = false;
            SetKey(!user, ++_generation << KeyShift);
        }

        SetKey(user, ++_generation << KeyShift);
    }

    // Of the lines that were never filled, whose tag is 0, the key's own can be hit: by a jump to the key.
    private void SetKey(bool user, ulong key)
    {
        JumpEntry* line = Line(key, user);
        if (line->Tag == 0)
        {
            line->Tag = key;
        }

        if (user)
        {
            _cpu->UserJumpCacheKey = key;
        }
        else
        {
            _cpu->JumpCacheKey = key;
        }
    }

    private ulong Key(bool user) => user ? _cpu->UserJumpCacheKey : _cpu->JumpCacheKey;

    private JumpEntry* Line(ulong rip, bool user) =>
        (JumpEntry*)((byte*)_cpu + StateLayout.JumpCache(user)) + StateLayout.JumpIndex(rip);
}
