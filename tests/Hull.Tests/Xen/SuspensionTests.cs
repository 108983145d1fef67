using System;
using System.Linq;
using System.Threading.Tasks;
using Hull.Memory;
using Hull.Xen;
using Xunit;

namespace Hull.Tests.Xen;

/// <summary>A domain's sleep, its waits, and what a user sees of it.</summary>
public sealed class SuspensionTests : IDisposable
{
    private const int MemoryOp = 12;
    private const int VcpuOp = 24;
    private const int SchedOp = 29;
    private const int EventChannelOp = 32;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly TestDomain _domain = new();

    public void Dispose()
    {
        _domain.Domain.Suspension.Dispose();
        _domain.Dispose();
    }

    [Fact]
    public async Task Sleep_LastsUntilItIsResumed_AndTheDomainIsNewThen()
    {
        Assert.Equal(0, _domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0));
        Assert.Equal(0, _domain.CallWith(MemoryOp, 7, 0x7FF0, 1, 0, 0, 0x8000, 0));
        Assert.Equal(0, _domain.CallWith(EventChannelOp, 6, 0x7FF0, 0));
        Task<long> sleeper = Task.Run(() => _domain.CallWith(SchedOp, 2, 2));

        Assert.True(await Task.Run(() => _domain.Domain.Suspension.TrySuspend(Limit)));
        Assert.True(_domain.Domain.Suspension.IsAsleep);
        Assert.False(sleeper.IsCompleted);
        Assert.True(_domain.Domain.Suspension.TryResume());
        Assert.Equal(0, await sleeper.WaitAsync(Limit));

        Assert.False(_domain.Domain.Suspension.IsAsleep);
        Assert.Null(_domain.Domain.SharedInfo.Page);
        XenView view = _domain.Domain.Read();
        Assert.Equal([(1, "backend", "xenstore"), (2, "backend", "console")], view.Ports.Select(one => (one.Port, one.State, one.Use)));
        Assert.Empty(view.Grants);
        Assert.False(_domain.Domain.Suspension.TryResume());
    }

    [Fact]
    public async Task Sleep_EndsWithTheMachine()
    {
        Task<long> sleeper = Task.Run(() => _domain.CallWith(SchedOp, 2, 2));
        Assert.True(await Task.Run(() => _domain.Domain.Suspension.TrySuspend(Limit)));
        _domain.Domain.Suspension.Dispose();
        await sleeper.WaitAsync(Limit);
    }

    [Fact]
    public void GuestThatDoesNotSleep_IsNotWaitedForLonger()
    {
        Assert.False(_domain.Domain.Suspension.TrySuspend(TimeSpan.FromMilliseconds(20)));
        Assert.Equal("suspend", _domain.Domain.Read().Nodes.Single(node => node.Path == "/local/domain/1/control/shutdown").Value);
    }

    [Fact]
    public async Task Poll_EndsWithAnEvent_AndInAnyCaseSoon()
    {
        Assert.Equal(0, _domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0));
        Assert.Equal(0, _domain.CallWith(EventChannelOp, 7, 0, 0));
        uint port = _domain.Word(1);
        const ulong ports = 0x20_8000;
        _domain.Memory.Write(new GuestPhysical(ports), port);

        Task<long> poll = Task.Run(() => _domain.CallWith(SchedOp, 3, (uint)ports, 0, 1, 0, 0, 0));
        Assert.Equal(0, await poll.WaitAsync(Limit));
        _domain.Memory.Write(new GuestPhysical(ports), 4000u);
        Assert.Equal(-22, _domain.CallWith(SchedOp, 3, (uint)ports, 0, 1, 0, 0, 0));
        Assert.Equal(-22, _domain.CallWith(SchedOp, 3, (uint)ports, 0, 129, 0, 0, 0));
        Assert.Equal(-14, _domain.CallWith(SchedOp, 3, 0xF000_0000, 0, 1, 0, 0, 0));
    }

    [Fact]
    public void VcpusThatAreAllDown_AreAPowerOff()
    {
        Assert.Equal(0, _domain.CallWith(MemoryOp, 7, 0x7FF0, 0, 0, 0, 0x200, 0));
        _domain.Personality.TryCpuid(1, 1, 0, out _); // it runs
        Assert.Equal(1, _domain.Call(VcpuOp, 3, 1));
        Assert.Equal(0, _domain.Call(VcpuOp, 2, 1));
        Assert.Equal(0, _domain.Call(VcpuOp, 3, 1));
        Assert.Equal(0, _domain.Call(VcpuOp, 1, 1));
        Assert.Equal(1, _domain.Call(VcpuOp, 3, 1));
        Assert.Equal(0, _domain.Call(VcpuOp, 2, 1));
        Assert.Equal(0, _domain.PowerOffs);
        Assert.Equal(0, _domain.Call(VcpuOp, 2, 0));
        Assert.Equal(1, _domain.PowerOffs);
    }

    [Fact]
    public void View_ShowsGrantsAndNodes()
    {
        Assert.Equal(0, _domain.CallWith(MemoryOp, 7, 0x7FF0, 1, 0, 0, 0x8000, 0));
        _domain.Memory.Write(new GuestPhysical((0x8000UL << 12) + (9 * 8)), 1u | 4);
        _domain.Memory.Write(new GuestPhysical((0x8000UL << 12) + (9 * 8) + 4), 0x108u);
        Assert.True(_domain.Domain.Grants.TryBegin(9, isWrite: false, out _));
        _domain.Domain.Store.Write("data/x", "a\\\n");

        XenView view = _domain.Domain.Read();
        Assert.Equal(new XenGrant(9, 0x108, 0, IsReadOnly: true, "read"), Assert.Single(view.Grants));
        Assert.Contains(new XenNode("/local/domain/1/domid", "1", "n0,r1"), view.Nodes);
        Assert.Equal("a\\5c\\0a", view.Nodes.Single(node => node.Path == "/local/domain/1/data/x").Value);
        Assert.Equal("2-level", view.EventForm);
    }
}
