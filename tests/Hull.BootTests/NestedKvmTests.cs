using System;
using System.IO;
using System.Linq;
using Xunit;
using Xunit.Abstractions;

namespace Hull.BootTests;

/// <summary>
/// The KVM engine on a real kvm_amd: in Debian, in QEMU's emulator with SVM. See nested-kvm.sh and its steps.
/// </summary>
public sealed class NestedKvmTests(ITestOutputHelper output)
{
    [NestedKvmFact]
    public void Debian_RunsOnKvm_WithEveryDeviceAndTwoProcessors()
    {
        string script = Path.Combine(Checkout.Root, "tests", "Hull.BootTests", "nested-kvm.sh");
        RunResult result = HullRun.StartScript($"exec {script} {Checkout.GenericKernelPackage}", TimeSpan.FromMinutes(10))
            .WaitForEnd();
        output.WriteLine(result.Text);
        string text = result.Text.Replace("\r", "", StringComparison.Ordinal);

        Assert.Contains("KVM_CREATE_VM failed: Device or resource busy: another hypervisor may hold the CPU", text, StringComparison.Ordinal);
        Assert.Contains("step busy status 125", text, StringComparison.Ordinal);
        Assert.Contains("step busy-auto status 124", text, StringComparison.Ordinal);
        Assert.Contains("busy is not kept", text, StringComparison.Ordinal);
        Assert.Contains("--engine auto takes it", text, StringComparison.Ordinal);
        Assert.Contains("processors 2, clock kvm-clock", text, StringComparison.Ordinal);
        Assert.Contains("disk reads right", text, StringComparison.Ordinal);
        Assert.Contains("network reads right", text, StringComparison.Ordinal);
        Assert.Contains("mmio disk reads right", text, StringComparison.Ordinal);
        Assert.Contains("pmem reads right", text, StringComparison.Ordinal);
        Assert.Contains("share reads right", text, StringComparison.Ordinal);
        Assert.Contains("random bytes 64", text, StringComparison.Ordinal);
        Assert.Contains("port wrote right", text, StringComparison.Ordinal);
        Assert.Contains("vsock is there", text, StringComparison.Ordinal);
        Assert.Contains("bound devices 10", text, StringComparison.Ordinal);
        Assert.Contains("interrupts of virtio come", text, StringComparison.Ordinal);
        Assert.Matches("irqfd-signals +[1-9]", text);
        Assert.Contains("step kvm status 42", text, StringComparison.Ordinal);
        Assert.Equal(Word(text, "wrote "), Word(text, "found "));
        Assert.Contains("vsock carries right", text, StringComparison.Ordinal);
        Assert.Contains("9p reads right", text, StringComparison.Ordinal);
        Assert.Contains("9p wrote right", text, StringComparison.Ordinal);
        Assert.Contains("hot disk reads right", text, StringComparison.Ordinal);
        Assert.Contains("hot disk went", text, StringComparison.Ordinal);
        Assert.Contains("balloon took memory", text, StringComparison.Ordinal);
        Assert.Contains("balloon gave it back", text, StringComparison.Ordinal);
        Assert.Contains("step live status 44", text, StringComparison.Ordinal);
        Assert.Contains("kvm-entries", text, StringComparison.Ordinal); // what auto has chosen counts them
        Assert.Contains("sector booted", text, StringComparison.Ordinal);
        Assert.Contains("step firmware status 83", text, StringComparison.Ordinal); // 2 * 41 + 1
        Assert.Contains("step refused status 125", text, StringComparison.Ordinal);
        Assert.DoesNotContain("step module", text, StringComparison.Ordinal);
    }

    // What follows a mark at a line's start.
    private static string Word(string text, string mark) => text.Split('\n')
        .First(line => line.StartsWith(mark, StringComparison.Ordinal))[mark.Length..].Trim();
}

/// <summary>A fact about KVM in an emulator; skipped, with the reason, where QEMU or the kernel with KVM's modules is not there.</summary>
public sealed class NestedKvmFactAttribute : FactAttribute
{
    public NestedKvmFactAttribute()
    {
        if (!File.Exists("/usr/bin/qemu-system-x86_64"))
        {
            Skip = "qemu-system-x86_64 is not installed: run ./check boot as root";
        }
        else if (Checkout.GenericKernelPackage is null)
        {
            Skip = "Debian's generic kernel is not in artifacts/guests: run ./check boot with a network";
        }
    }
}
