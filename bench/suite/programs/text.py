"""Text in Python: JSON, regular expressions, formatting, hashing, sorting of words."""
import json
import re
import zlib

text = open("/suite/data/text.small", encoding="latin-1").read()[:400000]
words = re.findall(r"[A-Za-z_]\w+", text)
counts = {}
for word in words:
    counts[word] = counts.get(word, 0) + 1
top = sorted(counts, key=lambda word: (-counts[word], word))[:200]
numbers = [int(digits) for digits in re.findall(r"\b\d{1,6}\b", text)]
document = [{"word": word, "count": counts[word], "of": [len(word), word.upper(), None, 1.5]} for word in top] * 12
for _ in range(6):
    coded = json.dumps(document)
    document = json.loads(coded)
swapped = re.sub(r"(\w+)\.(\w+)\(", lambda m: "%s->%s[" % (m.group(2), m.group(1)), text)
lines = "\n".join("{:>8} {:<20} {:06x}".format(i, w, zlib.crc32(w.encode())) for i, w in enumerate(words[:20000]))
print(len(words), sum(numbers), len(coded), zlib.crc32(swapped.encode()), zlib.crc32(lines.encode()))
