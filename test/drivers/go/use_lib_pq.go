// Serves lanes with lib/pq and database/sql's pool, a goroutine each: see ../program.ts for requests and replies.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/lib/pq"
)

const twiceText = "SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice"

type target struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	User     string `json:"user"`
	Password string `json:"password"`
	Database string `json:"database"`
}

type sample struct {
	ID      int             `json:"id"`
	Big     int64           `json:"big,string"`
	Num     string          `json:"num"`
	Body    string          `json:"body"`
	At      time.Time       `json:"at"`
	Doc     json.RawMessage `json:"doc"`
	List    []int64         `json:"list"`
	Nothing *string         `json:"nothing"`
}

type request struct {
	Lane        int     `json:"lane"`
	Op          string  `json:"op"`
	Pool        int     `json:"pool"`
	Connections int     `json:"connections"`
	Target      target  `json:"target"`
	Text        string  `json:"text"`
	Values      []int64 `json:"values"`
	N           int     `json:"n"`
	Rows        int     `json:"rows"`
	Sample      sample  `json:"sample"`
}

// A pool that several lanes share; it goes with the last lane that uses it.
type pool struct {
	once  sync.Once
	db    *sql.DB
	twice *sql.Stmt
	lanes int
}

type lane struct {
	key      int
	pool     *pool
	tx       *sql.Tx
	requests chan request
	mutex    sync.Mutex
	stop     context.CancelFunc
}

var (
	pools      = map[int]*pool{}
	poolsMutex sync.Mutex
	outMutex   sync.Mutex
)

func main() {
	lanes := map[int]*lane{}
	in := bufio.NewReader(os.Stdin)
	decoder := json.NewDecoder(in)
	for {
		var r request
		if decoder.Decode(&r) != nil {
			return
		}
		l := lanes[r.Lane]
		if l == nil {
			l = &lane{requests: make(chan request, 1)}
			lanes[r.Lane] = l
			go l.serve()
		}
		if r.Op == "now" {
			l.mutex.Lock()
			l.stop()
			l.mutex.Unlock()
		} else {
			l.requests <- r
		}
	}
}

func (l *lane) serve() {
	for r := range l.requests {
		value, err := l.perform(r)
		reply := map[string]interface{}{"lane": r.Lane, "value": value}
		if err != nil {
			reply = map[string]interface{}{
				"lane":  r.Lane,
				"error": map[string]interface{}{"state": stateOf(err), "message": err.Error()},
			}
		}
		line, err := json.Marshal(reply)
		if err != nil {
			panic(err)
		}
		outMutex.Lock()
		os.Stdout.Write(append(line, '\n'))
		outMutex.Unlock()
	}
}

func stateOf(err error) interface{} {
	var pqError *pq.Error
	if errors.As(err, &pqError) {
		return string(pqError.Code)
	}
	return nil
}

func (l *lane) perform(r request) (interface{}, error) {
	switch r.Op {
	case "open":
		return nil, l.open(r)
	case "close":
		return nil, l.close()
	case "begin":
		tx, err := l.pool.db.Begin()
		l.tx = tx
		return nil, err
	case "commit":
		defer func() { l.tx = nil }()
		return nil, l.tx.Commit()
	case "rollback":
		defer func() { l.tx = nil }()
		return nil, l.tx.Rollback()
	case "sql":
		return l.sql(r)
	case "twice":
		statement := l.pool.twice
		if l.tx != nil {
			statement = l.tx.Stmt(statement)
		}
		return rowsOf(statement.Query(r.N))
	case "cancel":
		ctx, stop := context.WithCancel(context.Background())
		l.mutex.Lock()
		l.stop = stop
		l.mutex.Unlock()
		return nil, ignoring(l.pool.db.ExecContext(ctx, r.Text))
	case "store":
		return l.store(r.Sample)
	case "copy":
		return l.copy(r.Rows)
	case "broken_copy":
		return l.brokenCopy()
	case "binary":
		return l.binary(r.Target)
	case "listen":
		return l.listen(r.Target)
	}
	return nil, fmt.Errorf("no such op: %s", r.Op)
}

func ignoring(_ sql.Result, err error) error { return err }

func source(t target, more string) string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable %s",
		t.Host, t.Port, t.User, t.Password, t.Database, more)
}

func (l *lane) open(r request) (err error) {
	poolsMutex.Lock()
	p := pools[r.Pool]
	if p == nil {
		p = &pool{}
		pools[r.Pool] = p
	}
	p.lanes++
	poolsMutex.Unlock()
	l.key = r.Pool
	l.pool = p
	p.once.Do(func() { err = p.connect(r) })
	return err
}

func (p *pool) connect(r request) (err error) {
	if p.db, err = sql.Open("postgres", source(r.Target, "")); err != nil {
		return err
	}
	p.db.SetMaxOpenConns(r.Connections)
	p.db.SetMaxIdleConns(r.Connections)
	// Prepared again by itself on each connection that it is used on.
	p.twice, err = p.db.Prepare(twiceText)
	return err
}

func (l *lane) close() error {
	poolsMutex.Lock()
	l.pool.lanes--
	isLast := l.pool.lanes == 0
	if isLast {
		delete(pools, l.key)
	}
	poolsMutex.Unlock()
	if !isLast {
		return nil
	}
	return l.pool.db.Close()
}

func (l *lane) sql(r request) (interface{}, error) {
	values := make([]interface{}, len(r.Values))
	for i, value := range r.Values {
		values[i] = value
	}
	if l.tx != nil {
		return rowsOf(l.tx.Query(r.Text, values...))
	}
	return rowsOf(l.pool.db.Query(r.Text, values...))
}

func rowsOf(rows *sql.Rows, err error) ([]map[string]interface{}, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	found := []map[string]interface{}{}
	for rows.Next() {
		cells := make([]interface{}, len(names))
		places := make([]interface{}, len(names))
		for i := range cells {
			places[i] = &cells[i]
		}
		if err := rows.Scan(places...); err != nil {
			return nil, err
		}
		row := map[string]interface{}{}
		for i, name := range names {
			if text, isText := cells[i].([]byte); isText {
				row[name] = string(text)
			} else {
				row[name] = cells[i]
			}
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

func (l *lane) store(s sample) (interface{}, error) {
	_, err := l.pool.db.Exec("INSERT INTO samples VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		s.ID, s.Big, s.Num, s.Body, s.At, []byte(s.Doc), pq.Array(s.List), s.Nothing)
	if err != nil {
		return nil, err
	}
	var back sample
	var doc []byte
	row := l.pool.db.QueryRow("SELECT * FROM samples WHERE id = $1", s.ID)
	err = row.Scan(&back.ID, &back.Big, &back.Num, &back.Body, &back.At, &doc, pq.Array(&back.List), &back.Nothing)
	back.Doc = doc
	return back, err
}

// Copies rows in, between statements of the same transaction.
func (l *lane) copy(rows int) (interface{}, error) {
	tx, err := l.pool.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	statement, err := tx.Prepare(pq.CopyIn("samples", "id", "body"))
	if err != nil {
		return nil, err
	}
	for i := 0; i < rows; i++ {
		if _, err := statement.Exec(i, fmt.Sprintf("ä\t%d", i%50)); err != nil {
			return nil, err
		}
	}
	if _, err := statement.Exec(); err != nil {
		return nil, err
	}
	if err := statement.Close(); err != nil {
		return nil, err
	}
	counted, err := rowsOf(tx.Query("SELECT count(*)::int AS n, sum(length(body))::int FROM samples WHERE id < $1", rows))
	if err != nil {
		return nil, err
	}
	return counted, tx.Commit()
}

// A COPY that the server ends with an error, of which the rows behind it know nothing.
func (l *lane) brokenCopy() (interface{}, error) {
	tx, err := l.pool.db.Begin()
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	statement, err := tx.Prepare(pq.CopyIn("samples", "id"))
	if err != nil {
		return nil, err
	}
	for _, value := range []interface{}{1, "no number", 2, 3} {
		if _, err := statement.Exec(value); err != nil {
			return stateOf(err), nil
		}
	}
	_, err = statement.Exec()
	return stateOf(err), nil
}

// Parameters and results in binary form, which the driver sends without a statement's name in one go.
func (l *lane) binary(t target) (interface{}, error) {
	db, err := sql.Open("postgres", source(t, "binary_parameters=yes"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var number int
	var bytes []byte
	err = db.QueryRow("SELECT $1::int + 1, $2::bytea", 41, []byte{0, 255, 1}).Scan(&number, &bytes)
	return []interface{}{number, bytes}, err
}

// A listener, which needs a session of its own, hears what the pool notifies.
func (l *lane) listen(t target) (interface{}, error) {
	listener := pq.NewListener(source(t, ""), time.Second, time.Second, nil)
	defer listener.Close()
	if err := listener.Listen("news"); err != nil {
		return nil, err
	}
	if _, err := l.pool.db.Exec("SELECT pg_notify('news', 'ä')"); err != nil {
		return nil, err
	}
	for {
		// Null stands for a new connection.
		if notification := <-listener.Notify; notification != nil {
			return notification.Extra, nil
		}
	}
}
