using System;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using System.Threading.Tasks;
using Hull.Cli.Store;
using Xunit;

namespace Hull.Tests.Cli;

public sealed class HostCommandTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("hull-command").FullName;

    [Fact]
    public async Task ProgramThatIsEnded_CanPutItsThingsAway()
    {
        using CancellationTokenSource source = new();
        string file = Path.Combine(_folder, "kept");
        string script = $"trap 'rm {file}; exit 1' TERM; touch {file}; echo ready; while :; do sleep 0.05; done";
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => HostCommand.FollowAsync(
            "sh", ["-c", script], new Dictionary<string, string>(), _ => source.Cancel(), source.Token));

        Assert.Empty(Directory.GetFiles(_folder));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
