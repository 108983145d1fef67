# Steps for nested-kvm.sh with NESTED_TESTS=1: the tests of the KVM engine on a real kvm_amd. The thousand machines take
# minutes there; breakpoints in debug registers are what QEMU's SVM lacks (VMRUN does not arm DR7); the oracle's forms of
# instructions end QEMU at an assertion of its own (VROUNDSS with VEX.L).
. /world
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
cd /tests || exit 1
step tests /dotnet/dotnet exec /sdk/vstest.console.dll Hull.Tests.dll --logger:'console;verbosity=normal' \
    --TestCaseFilter:'(FullyQualifiedName~Tests.Kvm|FullyQualifiedName~InFlightEvent)&FullyQualifiedName!~ThousandMachines&FullyQualifiedName!~Breakpoint_Stops&FullyQualifiedName!~KvmOracle'
