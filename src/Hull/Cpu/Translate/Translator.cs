using System;
using Hull.Cpu.Decode;
using Hull.Engine;
using Iced.Intel;

namespace Hull.Cpu.Translate;

/// <summary>
/// Turns guest bytes into a block of host code: decode all, then emit one instruction after the other. The work on one
/// kind of instruction is in the lowerings; this file is the frame around them. See docs/translator.md.
/// </summary>
internal sealed unsafe class Translator
{
    /// <summary>Instructions in a block at the most.</summary>
    internal const int MaximumInstructions = 64;

    // Of three a boot translates a fifth more instructions, in fewer blocks and in as much time (docs/bench.md).
    private const int MaximumJoins = 3;

    private const int FetchBytes = 1024;

    // Most blocks have some 50 bytes: the lines behind them need not come into the host's caches.
    private const int FirstBytes = 192;
    private readonly CodeCache _cache;
    private readonly BlockDecoder _decoder;
    private readonly BlockWriter _w;
    private readonly FetchGuard _guard;
    private readonly BlockCopier _copier;

    internal Translator(CodeCache cache, Thunks thunks, FetchGuard guard, CpuFeatureSet features, bool isIntel)
    {
        _cache = cache;
        _guard = guard;
        _copier = new BlockCopier(cache, guard);
        _decoder = new BlockDecoder(isIntel);
        _w = new BlockWriter(cache, thunks, new InstructionPlans(features, isIntel), isIntel);
    }

    /// <summary>Blocks count their instructions: <see cref="InstructionBudget"/>.</summary>
    internal bool CountsInstructions
    {
        get => _w.CountsInstructions;
        set => _w.CountsInstructions = value;
    }

    /// <summary>Two vCPUs or more run what is translated.</summary>
    internal bool IsShared
    {
        set => _w.IsShared = value;
    }

    /// <summary>See <see cref="BlockWriter.UsualFlags"/>.</summary>
    internal FlagPlace UsualFlags
    {
        set => _w.UsualFlags = value;
    }

    /// <summary>Instructions in a block; for tests that compare blocks with single steps.</summary>
    internal int Limit { get; set; } = MaximumInstructions;

    /// <summary>Blocks that would need a second page are not made.</summary>
    internal bool StaysInPage { get; set; }

    /// <summary>Where the call that ends the last block returns to; 0 when it does not end in one.</summary>
    internal ulong ReturnPoint { get; private set; }

    /// <summary>Guest instructions translated so far.</summary>
    internal ulong TranslatedInstructions { get; private set; }

    /// <summary>Translates the block at an rip.</summary>
    /// <param name="vcpu">Whose memory is read; a fault of the second page is recorded there.</param>
    /// <param name="key">The block's identity.</param>
    /// <param name="linear">The linear address of the first byte (CS base + rip).</param>
    /// <param name="hostPage">The host page of the first byte; null: no RAM there, which reads as all ones.</param>
    /// <param name="limit">Instructions at the most.</param>
    /// <returns>The block, or -1: a fault is pending.</returns>
    internal int Translate(SoftVcpu vcpu, in BlockKey key, ulong linear, byte* hostPage, int limit)
    {
        ReturnPoint = 0;
        limit = Math.Min(limit, Limit);
        if (limit == MaximumInstructions && BlockCopier.MayMove(key) && _copier.TryCopy(vcpu, key, hostPage) is >= 0 and int copy)
        {
            NoteReturn(_cache.Blocks[copy]);
            return copy;
        }

        int offset = (int)(key.Physical & 0xFFF);
        int most = Math.Min(FetchBytes, 4096 - offset);
        int available = Math.Min(FirstBytes, most);
        _guard.Begin();
        if (hostPage != null)
        {
            _guard.Watch(vcpu, hostPage, (uint)offset, (uint)(offset + most));
        }

        _decoder.Joins = CanJoin(key.Mode) ? MaximumJoins : 0;
        Fetch(hostPage, offset, available);
        int count = _decoder.Decode(key, available, limit, _w.Plans);
        if (_decoder.RanOut && available < most)
        {
            available = most;
            Fetch(hostPage, offset, available);
            count = _decoder.Decode(key, available, limit, _w.Plans);
        }

        bool pageEnd = offset + available == 4096;
        ulong secondPage = ulong.MaxValue;
        if (count == 0)
        {
            if (!pageEnd || StaysInPage || !FetchSecondPage(vcpu, linear, available, out secondPage))
            {
                _guard.Abandon();
                return -1;
            }

            count = _decoder.Decode(key, available + 15, 1, _w.Plans);
        }

        Block block = new()
        {
            Key = key,
            SecondPage = secondPage,
            IncomingLinks = -1,
            SideStart = _cache.SideRows.Count,
            LinkStart = _cache.Links.Count,
            Instructions = (ushort)count,
            GuestLength = (ushort)_decoder.Length,
            EndsInCall = _decoder.Instructions[count - 1].Mnemonic == Mnemonic.Call,
            Locked = (key.Mode & BlockMode.Careful) != 0 && _decoder.Instructions[0].IsLocked(),
        };
        int index = _cache.Blocks.Count;
        _w.Write(ref block, index, _decoder, count);
        _cache.Blocks.Add(block);
        _cache.Publish(index);
        _cache.ConnectWithinPage(index);
        _guard.End(index, _decoder.Buffer.AsSpan(0, block.GuestLength));
        TranslatedInstructions += (uint)count;
        _copier.Note(index);
        NoteReturn(block);
        return index;
    }

    /// <summary>Blocks that were copied from others, instead of being translated.</summary>
    internal ulong Copies => _copier.Copies;

    /// <summary>The cache was emptied.</summary>
    internal void Clear() => _copier.Clear();

    /// <summary>Gives a link a new stub that looks into the jump cache.</summary>
    internal void SendThroughJumpCache(int link, bool user) => _w.WriteLookupStub(link, user);

    private void NoteReturn(in Block block) => ReturnPoint = block.EndsInCall ? block.Key.Rip + block.GuestLength : 0;

    // Where every block pays for its instructions, or somebody looks at each, a block ends where the guest's does. So it does in
    // programs, which are slower otherwise: what several blocks run into is in each of them.
    private bool CanJoin(BlockMode mode) => !CountsInstructions && (mode
        & (BlockMode.CodeMask | BlockMode.User | BlockMode.Careful | BlockMode.Single | BlockMode.Unlinked | BlockMode.Breakpoints)) == BlockMode.Code64;

    private void Fetch(byte* hostPage, int offset, int length)
    {
        Span<byte> bytes = _decoder.Buffer.AsSpan(0, length);
        if (hostPage == null)
        {
            bytes.Fill(0xFF);
        }
        else
        {
            // SAFETY: the page is RAM, and the caller keeps offset + length inside it.
            new ReadOnlySpan<byte>(hostPage + offset, length).CopyTo(bytes);
        }
    }

    // The first instruction runs over the end of its page: fetch up to 15 bytes of the next.
    private bool FetchSecondPage(SoftVcpu vcpu, ulong linear, int available, out ulong physical)
    {
        ulong next = (linear & ~0xFFFUL) + 4096;
        physical = 0;
        if (!vcpu.Mmu.Translate(next, Mmu.Access.Fetch, out Mmu.PageTranslation page))
        {
            return false;
        }

        physical = page.PhysicalPage;
        Span<byte> bytes = _decoder.Buffer.AsSpan(available, 15);
        if (page.Host == null)
        {
            bytes.Fill(0xFF);
        }
        else
        {
            _guard.Watch(vcpu, page.Host, 0, 15);

            // SAFETY: a page of RAM has 4096 bytes.
            new ReadOnlySpan<byte>(page.Host, 15).CopyTo(bytes);
        }

        return true;
    }
}

/// <summary>Decodes a block's instructions into an array that is used again and again.</summary>
internal sealed class BlockDecoder
{
    private readonly BufferReader _reader;
    private readonly Decoder[] _decoders;

    internal BlockDecoder(bool isIntel)
    {
        DecoderOptions options = OptionsOf(isIntel);
        _reader = new BufferReader(Buffer);
        _decoders =
        [
            Decoder.Create(16, _reader, options), Decoder.Create(32, _reader, options), Decoder.Create(64, _reader, options),
        ];
    }

    /// <summary>
    /// The vendors read some encodings differently: near branches with an operand-size prefix and far pointers with REX.W in
    /// 64-bit mode. The guest's vendor decides.
    /// </summary>
    internal static DecoderOptions OptionsOf(bool isIntel) =>
        isIntel ? DecoderOptions.None : DecoderOptions.AMD;

    /// <summary>The guest's bytes, a private copy.</summary>
    internal byte[] Buffer { get; } = new byte[1024 + 64];

    /// <summary>The decoded instructions; IP is the guest rip.</summary>
    internal Instruction[] Instructions { get; } = new Instruction[Translator.MaximumInstructions];

    /// <summary>Bytes of the instructions together.</summary>
    internal int Length { get; private set; }

    /// <summary>The block ended because the bytes did.</summary>
    internal bool RanOut { get; private set; }

    /// <summary>
    /// The last instruction reaches memory through C#, in a segment that is not flat. Such a block ends there: the store
    /// may have changed the code behind it.
    /// </summary>
    internal bool EndsAfterCareful { get; private set; }

    /// <summary>Conditional jumps forward that a block may go on behind.</summary>
    internal int Joins { get; set; }

    /// <summary>
    /// Decodes until a block ends: at a branch, an instruction that ends blocks, the limit, or the last whole
    /// instruction in the bytes.
    /// </summary>
    /// <returns>How many; 0 when the first one does not fit.</returns>
    internal int Decode(in BlockKey key, int available, int limit, InstructionPlans plans)
    {
        Decoder decoder = _decoders[(int)(key.Mode & BlockMode.CodeMask)];
        _reader.Reset(available);
        decoder.IP = key.Rip;
        Length = 0;
        RanOut = false;
        EndsAfterCareful = false;
        int count = 0;
        bool shadow = false;
        int joins = Joins;
        limit = Math.Min(limit, Translator.MaximumInstructions);
        while (count < limit)
        {
            ref Instruction instruction = ref Instructions[count];
            decoder.Decode(out instruction);
            if (decoder.LastError == DecoderError.NoMoreBytes)
            {
                if (available - Length >= 15)
                {
                    // Longer than 15 bytes: #GP, which the assist raises for what Iced calls invalid.
                    instruction.Length = 15;
                    count++;
                    Length += 15;
                }
                else
                {
                    RanOut = true;
                }

                break;
            }

            plans.ShowAsOlder(ref instruction);
            if (instruction.Op0Register.IsCR() || instruction.Op1Register.IsCR())
            {
                RefuseLock(ref instruction);
            }

            count++;
            Length += instruction.Length;
            ref readonly InstructionPlan plan = ref plans.For(instruction);
            EndsAfterCareful = IsCareful(instruction, plan, key.Mode);
            if (shadow || EndsAfterCareful)
            {
                break;
            }

            if (EndsBlock(instruction, plan) && !(IsForward(instruction) && joins-- > 0))
            {
                break;
            }

            shadow = instruction.Mnemonic == Mnemonic.Sti;
        }

        return count;
    }

    // LOCK MOV CR0 is MOV CR8 on AMD's CPUs that say so (AltMovCr8); the guest's does not. APM vol. 3, "MOV CRn".
    private void RefuseLock(ref Instruction instruction)
    {
        ReadOnlySpan<byte> bytes = Buffer.AsSpan(Length, instruction.Length);
        if (bytes[..bytes.IndexOf((byte)0x0F)].Contains((byte)0xF0))
        {
            instruction.Code = Code.INVALID;
        }
    }

    private static bool EndsBlock(in Instruction instruction, in InstructionPlan plan) => plan.Kind switch
    {
        PlanKind.AssistEnd or PlanKind.Undefined => true,
        PlanKind.Lower => instruction.FlowControl != FlowControl.Next,
        _ => false,
    };

    private static bool IsForward(in Instruction instruction) =>
        instruction.IsJccShortOrNear && instruction.NearBranchTarget > instruction.IP;

    // 64-bit code has no such segments; assists look after themselves.
    private static bool IsCareful(in Instruction instruction, in InstructionPlan plan, BlockMode mode)
    {
        bool checks = (mode & BlockMode.AlignmentCheck) != 0;
        bool wide = (mode & BlockMode.CodeMask) == BlockMode.Code64;
        if ((wide && !checks) || plan.Kind is not (PlanKind.Copy or PlanKind.Lower))
        {
            return false;
        }

        bool flat = !checks && (mode & BlockMode.Flat) != 0;
        return instruction.IsStackInstruction && !flat
            || (instruction.HasMemoryOperand() && instruction.Mnemonic != Mnemonic.Lea
                && (!flat || instruction.MemorySegment is Register.CS or Register.FS or Register.GS));
    }

    private sealed class BufferReader(byte[] buffer) : CodeReader
    {
        private int _at;
        private int _end;

        internal void Reset(int end)
        {
            _at = 0;
            _end = end;
        }

        public override int ReadByte() => _at < _end ? buffer[_at++] : -1;
    }
}
