// Asks the console with lib/pq, as Grafana's data source did: a ping, simple and prepared queries, a transaction.
package main

import (
	"database/sql"
	"encoding/json"
	"os"

	_ "github.com/lib/pq"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	db, err := sql.Open("postgres", os.Args[1])
	must(err)
	must(db.Ping())
	lists := map[string]int{}
	prepared, err := db.Prepare("SHOW LISTS")
	must(err)
	for round := 0; round < 3; round++ {
		rows, err := prepared.Query()
		must(err)
		for rows.Next() {
			var list string
			var items int
			must(rows.Scan(&list, &items))
			lists[list] = items
		}
		must(rows.Err())
	}
	tx, err := db.Begin()
	must(err)
	var one int
	must(tx.QueryRow("SELECT 1").Scan(&one))
	must(tx.Commit())
	var version string
	must(db.QueryRow("SHOW VERSION").Scan(&version))
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"lists": lists, "one": one, "version": version}))
}
