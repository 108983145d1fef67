using System;
using System.Collections.Frozen;
using System.Collections.Generic;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Hull.Xen.Hypercalls;

/// <summary>
/// Writes a line for each hypercall: when, which vCPU, names, arguments, what it wrote and its result, as
/// <c>1.234567 vcpu0 event_channel_op(alloc_unbound, dom=DOMID_SELF, remote_dom=0) = 0, port=5</c>. Under the domain's lock.
/// </summary>
internal sealed class HypercallTracer(Action<string> sink)
{
    private const int MostText = 120;

    private static readonly FrozenDictionary<long, string> ErrorNames = new Dictionary<long, string>
    {
        [1] = "EPERM",
        [2] = "ENOENT",
        [3] = "ESRCH",
        [6] = "ENXIO",
        [7] = "E2BIG",
        [13] = "EACCES",
        [14] = "EFAULT",
        [16] = "EBUSY",
        [17] = "EEXIST",
        [19] = "ENODEV",
        [22] = "EINVAL",
        [28] = "ENOSPC",
        [33] = "EDOM",
        [38] = "ENOSYS",
        [61] = "ENODATA",
        [84] = "EILSEQ",
        [95] = "EOPNOTSUPP",
    }.ToFrozenDictionary();

    /// <summary>What a call says, before it is done: it may write over it.</summary>
    internal static string Describe(in Hypercall call, ulong number)
    {
        if (HypercallShapes.Find(number) is not HypercallShape shape)
        {
            return FormattableString.Invariant($"hypercall_{number}(0x{call[0]:x}, 0x{call[1]:x}, 0x{call[2]:x})");
        }

        StringBuilder line = new(shape.Name);
        OperationShape? operation = shape.Operations.GetValueOrDefault(call.Word(0));
        line.Append('(').Append(operation?.Name ?? Number(call[0]));
        for (int i = 0; i < shape.Arguments.Length; i++)
        {
            if (shape.Arguments[i].Length > 0)
            {
                line.Append(", ").Append(shape.Arguments[i]).Append('=').Append(Number(call[i + 1]));
            }
            else
            {
                AppendFields(line, call, shape, operation, written: false);
            }
        }

        if (shape.Name == "console_io" && operation?.Name == "write")
        {
            AppendText(line, call);
        }

        return line.Append(')').ToString();
    }

    /// <summary>Writes the line of a call that is done.</summary>
    internal void Done(in Hypercall call, ulong number, string description, long result)
    {
        StringBuilder line = new();
        line.Append(CultureInfo.InvariantCulture, $"{call.Domain.Clock.NowNs / 1e9:F6} vcpu{call.Vcpu.Index} {description} = {result}");
        if (result < 0)
        {
            line.Append(" (").Append(ErrorNames.GetValueOrDefault(-result, "error")).Append(')');
        }
        else if (HypercallShapes.Find(number) is HypercallShape shape)
        {
            AppendFields(line, call, shape, shape.Operations.GetValueOrDefault(call.Word(0)), written: true);
        }

        sink(line.ToString());
    }

    private static void AppendFields(
        StringBuilder line, in Hypercall call, HypercallShape shape, OperationShape? operation, bool written)
    {
        if (shape.Structure < 0 || operation is null || operation.Fields.Length == 0)
        {
            return;
        }

        ulong at = call[shape.Structure];
        foreach (string field in operation.Fields.Split(' '))
        {
            string[] parts = field.Split(':');
            bool isWritten = parts[0].StartsWith('>');
            string name = parts[0].TrimStart('>');
            int size = parts[1] == "w" ? call.WordBytes : int.Parse(parts[1], CultureInfo.InvariantCulture);
            if (name.Length > 0 && isWritten == written)
            {
                ulong value = 0;
                bool there = call.Registers.TryLoad(at, MemoryMarshal.AsBytes(new Span<ulong>(ref value))[..size]);
                line.Append(", ").Append(name).Append('=').Append(!there ? "?" : IsDomain(name) ? Domain(value) : Number(value));
            }

            at += (ulong)size;
        }
    }

    private static void AppendText(StringBuilder line, in Hypercall call)
    {
        Span<byte> text = stackalloc byte[(int)Math.Min(call[1], MostText)];
        if (call.Registers.TryLoad(call[2], text))
        {
            line.Append(", \"");
            foreach (byte letter in text)
            {
                line.Append(letter is >= 0x20 and < 0x7F ? (char)letter : letter == '\n' ? '|' : '.');
            }

            line.Append('"');
        }
    }

    private static bool IsDomain(string name) => name is "domid" or "dom" or "remote_dom" or "domain_id";

    private static string Domain(ulong value) => value == 0x7FF0 ? "DOMID_SELF" : Number(value);

    private static string Number(ulong value) => value < 10_000
        ? value.ToString(CultureInfo.InvariantCulture)
        : "0x" + value.ToString("x", CultureInfo.InvariantCulture);
}
