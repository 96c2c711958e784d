package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
)

// A block of bytes that every peer makes by itself; see ../bodies/pattern.py.
var block = func() []byte {
	state, block := uint64(1), make([]byte, 65521)
	for at := range block {
		state = (state*1103515245 + 12345) % (1 << 31)
		block[at] = byte(state >> 16)
	}
	return block
}()

// Answers what came.
func sink(w http.ResponseWriter, r *http.Request) {
	digest := sha256.New()
	size, err := io.Copy(digest, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sum := r.Trailer.Get("x-sum")
	if sum == "" {
		sum = "-"
	}
	fmt.Fprintf(w, "%x %d %s", digest.Sum(nil), size, sum)
}

// Sends as many bytes as the path says, with a length or in chunks, and then with their SHA-256 as a trailer.
func source(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(path.Base(r.URL.Path))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	isChunked := r.URL.RawQuery == "chunked"
	if isChunked {
		w.Header().Set("Trailer", "x-sum")
		// A short body would get a length otherwise.
		_ = http.NewResponseController(w).Flush()
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(size))
	}
	digest := sha256.New()
	for ; size > 0; size -= len(block) {
		piece := block[:min(size, len(block))]
		digest.Write(piece)
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
	if isChunked {
		w.Header().Set("x-sum", fmt.Sprintf("%x", digest.Sum(nil)))
	}
}
