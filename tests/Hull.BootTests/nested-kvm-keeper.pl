# In L1: keeps two virtual machines until it is killed, so that KVM's static keys stay as they are.
# With the first machine KVM patches the scheduler's code, with the last one patches it back (preempt_notifier_key), and the
# like holds for processors without a local APIC, or with one that software has not enabled. QEMU's emulator with two processors
# at times goes on executing the INT3 that the patching leaves for a moment, and L1 stands still for good with the run queue locked.
use strict;
use warnings;

use constant { KVM_CREATE_VM => 0xAE01, KVM_CREATE_VCPU => 0xAE41, KVM_CREATE_IRQCHIP => 0xAE60 };

open my $kvm, '+<', '/dev/kvm' or die "keeper: /dev/kvm: $!\n";
my @kept;
for my $apic (0, 1) {
    my $number = ioctl $kvm, KVM_CREATE_VM, 0 or die "keeper: KVM_CREATE_VM: $!\n";
    open my $machine, '+<&=', $number or die "keeper: $!\n";
    !$apic || ioctl $machine, KVM_CREATE_IRQCHIP, 0 or die "keeper: KVM_CREATE_IRQCHIP: $!\n";
    my $vcpu = ioctl $machine, KVM_CREATE_VCPU, 0 or die "keeper: KVM_CREATE_VCPU: $!\n";
    push @kept, $machine, $vcpu;
}

open my $ready, '>', '/tmp/keeper' or die "keeper: /tmp/keeper: $!\n";
close $ready;
sleep 1000 while 1;
