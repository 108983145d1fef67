"""Objects, closures, dictionaries and lists: what most Python programs do."""


class Shape:
    def __init__(self, size):
        self.size = size

    def area(self):
        raise NotImplementedError


class Square(Shape):
    def area(self):
        return self.size * self.size


class Strip(Shape):
    def __init__(self, size, width):
        super().__init__(size)
        self.width = width

    def area(self):
        return self.size * self.width


def queens(size):
    """The number of ways to place queens that do not see each other."""
    def place(row, columns, rising, falling):
        if row == size:
            return 1
        return sum(place(row + 1, columns | {c}, rising | {row + c}, falling | {row - c})
                   for c in range(size) if c not in columns and row + c not in rising and row - c not in falling)
    return place(0, frozenset(), frozenset(), frozenset())


def sieve(limit):
    flags = [True] * limit
    for i in range(2, int(limit ** 0.5) + 1):
        if flags[i]:
            flags[i * i::i] = [False] * len(range(i * i, limit, i))
    return sum(flags) - 2


shapes = [Square(i % 13) if i % 3 else Strip(i % 7, i % 5) for i in range(20000)]
total = sum(shape.area() for shape in shapes)
counts = {}
for i in range(100000):
    key = (i * 7919) % 1009
    counts[key] = counts.get(key, 0) + i
pairs = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
print(total, pairs[:3], queens(7), sieve(100000), sum(int(d) for d in str(3 ** 4000)))
