using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hull.Host;

namespace Hull.Files.Fuse;

/// <summary>FUSE's requests on extended attributes.</summary>
internal sealed class FuseAttributes(FileAttributes attributes, bool hidden)
{
    internal int Execute(FuseOpcode opcode, FileNode node, ReadOnlySpan<byte> body, ref FuseAnswer answer)
    {
        if (hidden)
        {
            return Errno.NoSystemCall;
        }

        FusePair request = default;
        if (opcode != FuseOpcode.RemoveXAttr)
        {
            if (!MemoryMarshal.TryRead(body, out request))
            {
                return Errno.Invalid;
            }

            body = body[Unsafe.SizeOf<FusePair>()..];
        }

        if (opcode == FuseOpcode.ListXAttr)
        {
            int error = attributes.List(node, Room(request.First, ref answer), out int length);
            return Answer(error, request.First, length, ref answer);
        }

        ReadOnlySpan<byte> rest = body;
        if (!FileName.TrySplit(ref rest, out ReadOnlySpan<byte> text) || text.Length is 0 or > 255)
        {
            return Errno.Invalid;
        }

        ReadOnlySpan<byte> name = body[..(text.Length + 1)];
        switch (opcode)
        {
            case FuseOpcode.GetXAttr:
                int error = attributes.Get(node, name, Room(request.First, ref answer), out int length);
                return Answer(error, request.First, length, ref answer);
            case FuseOpcode.SetXAttr:
                return request.First > rest.Length
                    ? Errno.Invalid
                    : attributes.Set(node, name, rest[..(int)request.First], (int)request.Second);
            default:
                return attributes.Remove(node, name);
        }
    }

    private static Span<byte> Room(uint size, ref FuseAnswer answer) =>
        answer.Rest[..(int)Math.Min(size, (uint)answer.Rest.Length)];

    // Who gives no room asks for the size.
    private static int Answer(int error, uint size, int length, ref FuseAnswer answer)
    {
        if (error == 0 && size == 0)
        {
            answer.Put(new FusePair((uint)length, 0));
        }
        else if (error == 0)
        {
            answer.Advance(length);
        }

        return error;
    }
}
