namespace Hull.Host;

/// <summary>Error numbers of Linux on x86. errno(3). 0 is success.</summary>
internal static class Errno
{
    internal const int NotPermitted = 1;
    internal const int NoEntry = 2;
    internal const int Interrupted = 4;
    internal const int InputOutput = 5;
    internal const int BadDescriptor = 9;
    internal const int TryAgain = 11;
    internal const int NoMemory = 12;
    internal const int AccessDenied = 13;
    internal const int Busy = 16;
    internal const int Exists = 17;
    internal const int CrossDevice = 18;
    internal const int NotDirectory = 20;
    internal const int IsDirectory = 21;
    internal const int Invalid = 22;
    internal const int TooManyOpen = 23;
    internal const int TooManyOpenHere = 24;
    internal const int NoSpace = 28;
    internal const int ReadOnly = 30;
    internal const int Range = 34;
    internal const int NameTooLong = 36;
    internal const int NoSystemCall = 38;
    internal const int TooManyLinks = 40;
    internal const int NoData = 61;
    internal const int NotSupported = 95;
    internal const int Stale = 116;
    internal const int OverQuota = 122;
}
