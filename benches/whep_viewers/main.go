// whep_viewers opens N WHEP (WebRTC) viewers of a URL, counts RTP, and prints one JSON line.
//
//	whep_viewers -url http://127.0.0.1:8889/cam{i}/whep -viewers 10 -streams 1 -rate 5 -warmup 3 -seconds 10 [-bearer TOKEN]
//	  -frames: keep a record of each packet and count complete, decodable and in-time frames (frames.go); own NACK instead of pion's
//	  -twcc: transport-wide feedback; -rtx: retransmission on a stream of its own
//	  -churn N -slots C: N join/leave cycles, C at a time (churn.go)
//
// {i} in the URL is replaced by (viewer index modulo streams). No decode. Receiver reports and NACK are kept.
// Prints WINDOW_START and WINDOW_END lines for the driver.
package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/webrtc/v4"
)

var seiUUID = []byte("vidhubBENCHclock")

func monoNs() uint64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	return uint64(ts.Sec)*1e9 + uint64(ts.Nsec)
}

func cpuNs() int64 {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return ru.Utime.Nano() + ru.Stime.Nano()
}

type viewer struct {
	t0, first, key uint64
	// The last packet of the first keyframe.
	whole                      uint64
	packets, bytes, gaps, lost atomic.Uint64
	keys                       atomic.Uint64
	lat                        []float64
	err                        string
	mu                         sync.Mutex
	rec                        *recorder
	pc                         *webrtc.PeerConnection
	location                   string
	gotFirst                   chan struct{}
	rtx                        atomic.Uint64
}

func seiClock(n []byte) uint64 {
	if len(n) > 80 {
		n = n[:80]
	}
	i := bytes.Index(n, seiUUID)
	if i < 0 || i+32 > len(n) {
		return 0
	}
	v, _ := strconv.ParseUint(string(n[i+16:i+32]), 16, 64)
	return v
}

func inspect(p []byte) (key bool, clock uint64) {
	if len(p) < 2 {
		return
	}
	switch p[0] & 31 {
	case 5:
		key = true
	case 6:
		clock = seiClock(p)
	case 24:
		q := p[1:]
		for len(q) > 2 {
			n := int(binary.BigEndian.Uint16(q))
			if n == 0 || len(q) < 2+n {
				break
			}
			switch q[2] & 31 {
			case 5:
				key = true
			case 6:
				clock = seiClock(q[2 : 2+n])
			}
			q = q[2+n:]
		}
	case 28:
		key = p[1]&0x80 != 0 && p[1]&31 == 5
	}
	return
}

func pct(v []float64, q float64) float64 {
	if len(v) == 0 {
		return -1
	}
	sort.Float64s(v)
	return v[int(float64(len(v)-1)*q+0.5)]
}

var inWindow atomic.Bool

func (v *viewer) run(api *webrtc.API, url, bearer string) {
	v.t0 = monoNs()
	fail := func(e error) { v.mu.Lock(); v.err = e.Error(); v.mu.Unlock() }
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		fail(err)
		return
	}
	v.pc = pc
	if _, err = pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		fail(err)
		return
	}
	pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		go func() {
			b := make([]byte, 1500)
			for {
				if _, _, e := r.Read(b); e != nil {
					return
				}
			}
		}()
		b := make([]byte, 2048)
		last := -1
		if v.rec != nil {
			v.rec.start(pc, t)
		}
		for {
			n, at, e := t.Read(b)
			if e != nil {
				return
			}
			if n < 12 {
				continue
			}
			p := b[:n]
			if at != nil && at.Get(webrtc.AttributeRtxSsrc) != nil {
				v.rtx.Add(1)
			}
			v.packets.Add(1)
			v.bytes.Add(uint64(n))
			seq := int(binary.BigEndian.Uint16(p[2:]))
			if last >= 0 {
				if d := uint16(seq - last); d != 1 {
					v.gaps.Add(1)
					if d > 1 && d < 0x8000 {
						v.lost.Add(uint64(d) - 1)
					}
				}
			}
			last = seq
			off := 12 + 4*int(p[0]&15)
			if p[0]&0x10 != 0 && off+4 <= n {
				off += 4 + 4*int(binary.BigEndian.Uint16(p[off+2:]))
			}
			if off > n {
				continue
			}
			k, c := inspect(p[off:])
			if v.rec != nil {
				v.rec.add(p, k, c)
			}
			if v.first == 0 {
				v.first = monoNs()
				if v.gotFirst != nil {
					close(v.gotFirst)
				}
			}
			if k {
				v.keys.Add(1)
				if v.key == 0 {
					v.key = monoNs()
				}
			}
			if v.key > 0 && v.whole == 0 && p[1]&0x80 != 0 {
				v.whole = monoNs()
			}
			if c != 0 && inWindow.Load() && len(v.lat) < 100000 {
				if now := monoNs(); now > c {
					v.mu.Lock()
					v.lat = append(v.lat, float64(now-c)/1e6)
					v.mu.Unlock()
				}
			}
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		fail(err)
		return
	}
	done := webrtc.GatheringCompletePromise(pc)
	if err = pc.SetLocalDescription(offer); err != nil {
		fail(err)
		return
	}
	<-done
	req, _ := http.NewRequest("POST", url, strings.NewReader(pc.LocalDescription().SDP))
	req.Header.Set("Content-Type", "application/sdp")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		fail(err)
		return
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if l, e := res.Location(); e == nil {
		v.location = l.String()
	}
	if res.StatusCode/100 != 2 {
		fail(fmt.Errorf("http %d: %.120s", res.StatusCode, body))
		return
	}
	if err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(body)}); err != nil {
		fail(err)
	}
}

func main() {
	url := flag.String("url", "", "WHEP URL")
	n := flag.Int("viewers", 1, "")
	m := flag.Int("streams", 1, "")
	rate := flag.Float64("rate", 5, "viewers started per second")
	warmup := flag.Float64("warmup", 3, "")
	secs := flag.Float64("seconds", 10, "")
	bearer := flag.String("bearer", "", "")
	ufrag := flag.Bool("all-interfaces", false, "gather on all interfaces, not only loopback")
	frames := flag.Bool("frames", false, "count complete frames")
	deadline := flag.Float64("deadline", 500, "ms from the publisher's clock to complete and decodable")
	nackRTT := flag.Float64("nack-rtt", 50, "ms between NACKs of the same packet (-frames)")
	nackPairs := flag.Int("nack-pairs", 250, "entries (17 packets each) in one NACK message (-frames)")
	noNack := flag.Bool("no-nack", false, "")
	framesOut := flag.String("frames-out", "", "CSV of frames")
	useRTX := flag.Bool("rtx", false, "offer RTX, as browsers do")
	useTWCC := flag.Bool("twcc", false, "tell when each packet came, as browsers do")
	churnN := flag.Int("churn", 0, "join/leave cycles")
	slots := flag.Int("slots", 20, "cycles at a time")
	flag.Parse()
	runtime.GOMAXPROCS(2)

	me := &webrtc.MediaEngine{}
	fb := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}
	for i, prof := range []string{"42e01f", "4d001f", "640c1f", "42001f"} {
		if err := me.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeH264, ClockRate: 90000,
			SDPFmtpLine: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=" + prof, RTCPFeedback: fb},
			PayloadType: webrtc.PayloadType(96 + 2*i)}, webrtc.RTPCodecTypeVideo); err != nil {
			panic(err)
		}
		if *useRTX {
			if err := me.RegisterCodec(webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: webrtc.MimeTypeRTX, ClockRate: 90000, SDPFmtpLine: fmt.Sprintf("apt=%d", 96+2*i)},
				PayloadType: webrtc.PayloadType(97 + 2*i)}, webrtc.RTPCodecTypeVideo); err != nil {
				panic(err)
			}
		}
	}
	ir := &interceptor.Registry{}
	if f, err := report.NewReceiverInterceptor(); err == nil {
		ir.Add(f)
	}
	if f, err := nack.NewGeneratorInterceptor(); err == nil && !*frames && !*noNack {
		ir.Add(f)
	}
	if *useTWCC {
		if err := webrtc.ConfigureTWCCSender(me, ir); err != nil {
			panic(err)
		}
	}
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	if !*ufrag {
		se.SetInterfaceFilter(func(s string) bool { return s == "lo" })
		se.SetIPFilter(func(ip net.IP) bool { return ip.To4() != nil })
	}
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	se.SetReceiveMTU(1600)
	se.DisableSRTPReplayProtection(true) // pion keeps 64 packets and would drop late retransmissions; libwebrtc keeps 1,024

	api := webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(ir), webrtc.WithSettingEngine(se))

	if *churnN > 0 {
		churn(api, *url, *bearer, *churnN, *slots, *m)
		os.Exit(0)
	}
	vs := make([]*viewer, *n)
	for i := range vs {
		vs[i] = &viewer{}
		if *frames {
			vs[i].rec = &recorder{rtt: uint64(*nackRTT * 1e6), off: *noNack, pairs: *nackPairs}
		}
		go vs[i].run(api, strings.ReplaceAll(*url, "{i}", strconv.Itoa(i%*m)), *bearer)
		time.Sleep(time.Duration(float64(time.Second) / *rate))
	}
	time.Sleep(time.Duration(*warmup * float64(time.Second)))
	sum := func() (p, b, g, l, k uint64) {
		for _, v := range vs {
			p += v.packets.Load()
			b += v.bytes.Load()
			g += v.gaps.Load()
			l += v.lost.Load()
			k += v.keys.Load()
		}
		return
	}
	inWindow.Store(true)
	w0 := monoNs()
	p0, b0, g0, l0, k0 := sum()
	c0, t0 := cpuNs(), time.Now()
	fmt.Println("WINDOW_START")
	time.Sleep(time.Duration(*secs * float64(time.Second)))
	p1, b1, g1, l1, k1 := sum()
	dt := time.Since(t0).Seconds()
	c1 := cpuNs()
	fmt.Println("WINDOW_END")
	w1 := monoNs()
	extra := ""
	if *frames {
		extra = summarizeFrames(vs, w0, w1, *deadline, *framesOut)
	}
	var tf, tk, tw, lat []float64
	playing, errs := 0, ""
	for _, v := range vs {
		v.mu.Lock()
		if v.err != "" {
			errs = v.err
		}
		lat = append(lat, v.lat...)
		v.mu.Unlock()
		if v.packets.Load() > 0 {
			playing++
			tf = append(tf, float64(v.first-v.t0)/1e6)
		}
		if v.key > 0 {
			tk = append(tk, float64(v.key-v.t0)/1e6)
		}
		if v.whole > 0 {
			tw = append(tw, float64(v.whole-v.t0)/1e6)
		}
	}
	fmt.Printf("{\"readers\":%d,\"playing\":%d,\"dead\":%d,\"err\":%q,\"transport\":\"webrtc\",\"window_s\":%.3f,\"packets\":%d,\"bytes\":%d,\"gaps\":%d,\"lost\":%d,\"keys\":%d,\"first_packet_ms_p50\":%.2f,\"first_packet_ms_p99\":%.2f,\"first_key_ms_p50\":%.2f,\"first_key_ms_p95\":%.2f,\"first_key_ms_p99\":%.2f,\"first_whole_ms_p95\":%.2f,\"got_key\":%d,\"relay_ms_p50\":%.3f,\"relay_ms_p99\":%.3f,\"relay_samples\":%d,\"client_cpu_s\":%.3f%s}\n",
		*n, playing, *n-playing, errs, dt, p1-p0, b1-b0, g1-g0, l1-l0, k1-k0, pct(tf, .5), pct(tf, .99), pct(tk, .5), pct(tk, .95), pct(tk, .99), pct(tw, .95), len(tk), pct(lat, .5), pct(lat, .99), len(lat), float64(c1-c0)/1e9, extra)
	// Leave politely, or the server sends on and disturbs what is measured next.
	var wg sync.WaitGroup
	for _, v := range vs {
		wg.Add(1)
		go func() { v.leave(*bearer); wg.Done() }()
	}
	wg.Wait()
	os.Exit(0)
}
