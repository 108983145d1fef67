-- Tables, an index, joins, grouping, updates and text search, in memory.
CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, name TEXT, price REAL);
CREATE TABLE sale(id INTEGER PRIMARY KEY, item INTEGER, amount INTEGER, day INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO item SELECT i, i * 7 % 50, printf('item-%05d-%x', i, i * 2654435761 % 65536), i % 997 * 0.25 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO sale SELECT i, i * 7919 % 10000 + 1, i % 9 + 1, i % 365 FROM n;
CREATE INDEX sale_item ON sale(item);
SELECT kind, count(*), round(sum(amount * price), 2) FROM sale JOIN item ON item.id = sale.item
    GROUP BY kind ORDER BY 3 DESC, kind LIMIT 10;
SELECT count(*) FROM item WHERE name LIKE '%a7%';
UPDATE item SET price = price * 1.1 WHERE kind IN (SELECT kind FROM item GROUP BY kind HAVING sum(price) > 24000);
SELECT day, total FROM (SELECT day, sum(amount) AS total FROM sale GROUP BY day) ORDER BY total DESC, day LIMIT 5;
SELECT count(DISTINCT substr(name, 12)), round(avg(price), 4) FROM item;
DELETE FROM sale WHERE item IN (SELECT id FROM item WHERE kind < 10);
SELECT count(*), sum(amount) FROM sale;
