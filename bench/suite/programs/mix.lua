-- A tracing just-in-time compiler at work: numbers, tables, strings and closures.
local function sieve(limit)
    local flags, count = {}, 0
    for i = 2, limit do flags[i] = true end
    for i = 2, limit do
        if flags[i] then
            count = count + 1
            for j = i * i, limit, i do flags[j] = false end
        end
    end
    return count
end

local function mandelbrot(size)
    local sum = 0
    for row = 0, size - 1 do
        for column = 0, size - 1 do
            local cx, cy, x, y, steps = column * 2 / size - 1.5, row * 2 / size - 1, 0, 0, 0
            while steps < 100 and x * x + y * y < 4 do
                x, y, steps = x * x - y * y + cx, 2 * x * y + cy, steps + 1
            end
            sum = sum + steps
        end
    end
    return sum
end

local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end

local function words(count)
    local seen, parts = {}, {}
    for i = 1, count do
        local word = ("w%d"):format(i * 7919 % 1009)
        seen[word] = (seen[word] or 0) + 1
        if i % 50 == 0 then parts[#parts + 1] = word:upper():reverse() end
    end
    return #table.concat(parts, ","), seen.w7
end

-- Many small functions from source: each is compiled, traced and dropped.
local function generated(count)
    local sum = 0
    for i = 1, count do
        local f = loadstring(("local x = ... for i = 1, 100 do x = (x * %d + i) %% 65521 end return x"):format(i + 2))
        sum = (sum + f(i)) % 1000003
    end
    return sum
end

print(sieve(300000), mandelbrot(120), fib(27), words(60000))
print(generated(600))
