package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"
)

// churn joins, waits for the first RTP packet (5 s at most), leaves (DELETE of the WHEP resource where the server names one, then close), and again.
func churn(api *webrtc.API, url, bearer string, n, slots, streams int) {
	var next, failed, deleted, delFailed atomic.Int64
	var mu sync.Mutex
	var lat []float64
	errs := map[string]int{}
	var wg sync.WaitGroup
	t0 := time.Now()
	for range slots {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				v := &viewer{gotFirst: make(chan struct{})}
				v.run(api, strings.ReplaceAll(url, "{i}", strconv.Itoa(i%streams)), bearer)
				v.mu.Lock()
				e := v.err
				v.mu.Unlock()
				if e == "" {
					select {
					case <-v.gotFirst:
						mu.Lock()
						lat = append(lat, float64(v.first-v.t0)/1e6)
						mu.Unlock()
					case <-time.After(5 * time.Second):
						e = "no packet in 5 s"
					}
				}
				if e != "" {
					failed.Add(1)
					mu.Lock()
					errs[e]++
					mu.Unlock()
				}
				d, ok := v.leave(bearer)
				if d {
					deleted.Add(1)
					if !ok {
						delFailed.Add(1)
					}
				}
			}
		}()
	}
	wg.Wait()
	first := ""
	for e, c := range errs {
		first = fmt.Sprintf("%s (%d)", e, c)
	}
	fmt.Printf("{\"cycles\":%d,\"failed\":%d,\"err\":%q,\"deleted\":%d,\"delete_failed\":%d,\"seconds\":%.1f,\"first_packet_ms_p50\":%.1f,\"first_packet_ms_p99\":%.1f}\n",
		n, failed.Load(), first, deleted.Load(), delFailed.Load(), time.Since(t0).Seconds(), pct(lat, .5), pct(lat, .99))
}

// leave deletes the WHEP resource where the server named one, and closes the peer connection.
func (v *viewer) leave(bearer string) (deleted, ok bool) {
	if v.location != "" {
		deleted = true
		req, _ := http.NewRequest("DELETE", v.location, nil)
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			ok = res.StatusCode/100 == 2
			res.Body.Close()
		}
	}
	if v.pc != nil {
		v.pc.Close()
	}
	return
}
