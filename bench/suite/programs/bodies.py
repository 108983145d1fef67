"""Floating point in Python: bodies that pull each other, and a spectral norm."""

bodies = [[i * 1.7 - 3, i * 0.9 + 0.3, 2.5 - i, 0.01 * i, 0.02, -0.03 * i, 1.0 / (i + 1)] for i in range(5)]


def advance(steps, dt=0.001):
    for _ in range(steps):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1:]:
                dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
                pull = dt / ((dx * dx + dy * dy + dz * dz + 0.01) ** 1.5)
                for axis, d in enumerate((dx, dy, dz)):
                    a[3 + axis] -= d * b[6] * pull
                    b[3 + axis] += d * a[6] * pull
        for body in bodies:
            for axis in range(3):
                body[axis] += dt * body[3 + axis]


def norm(n):
    def times(u):
        return [sum(u[j] / ((i + j) * (i + j + 1) / 2 + i + 1) for j in range(n)) for i in range(n)]
    u = [1.0] * n
    for _ in range(4):
        u = times(u)
    return sum(u)


advance(3000)
print("%.9f %.9f %.6e" % (bodies[0][0], bodies[4][5], norm(90)))
