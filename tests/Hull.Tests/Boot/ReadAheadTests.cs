using System;
using System.IO;
using Hull.Boot;
using Xunit;

namespace Hull.Tests.Boot;

public sealed class ReadAheadTests
{
    [Fact]
    public void Bytes_ComeOutAsTheyWentIn()
    {
        byte[] bytes = new byte[(5 << 20) + 3];
        new Random(7).NextBytes(bytes);
        using ReadAhead ahead = new(new MemoryStream(bytes));
        using MemoryStream read = new();

        ahead.CopyTo(read, 70_000);

        Assert.Equal(bytes, read.ToArray());
        Assert.Equal(0, ahead.Read(new byte[1]));
    }

    [Fact]
    public void FailureOfTheSource_ComesAfterTheBytesBeforeIt()
    {
        using ReadAhead ahead = new(new FailingStream(600_000));

        Assert.Equal(524_288, ahead.ReadAtLeast(new byte[524_288], 524_288));
        Assert.Throws<InvalidDataException>(() => ahead.ReadAtLeast(new byte[524_288], 524_288));
    }

    [Fact]
    public void DisposedHalfway_DisposesItsSource()
    {
        MemoryStream source = new(new byte[32 << 20]);
        using (ReadAhead ahead = new(source))
        {
            ahead.ReadExactly(new byte[100]);
        }

        Assert.False(source.CanRead);
    }

    private sealed class FailingStream(int good) : MemoryStream
    {
        private int _left = good;

        public override int Read(Span<byte> buffer)
        {
            if (_left == 0)
            {
                throw new InvalidDataException("damaged");
            }

            int given = Math.Min(_left, buffer.Length);
            _left -= given;
            return given;
        }
    }
}
