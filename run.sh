#!/usr/bin/env bash
# Vouch from raw audio to an equal error rate, in stages; ./run.sh --help lists them.
set -euo pipefail
unset CDPATH # with CDPATH set, cd may change to another folder and prints its name

# The folder of this script, as in the call, so that relative paths stay valid; '' for ./run.sh.
top=${BASH_SOURCE[0]}
[ ! -L "$top" ] || top=$(readlink -f "$top")
top=$(dirname "$top")/
[ "$top" != ./ ] || top=''

# Defaults of the options. Other settings are in egs/CORPUS/corpus.sh (the corpus), conf/protocols/ (the evaluation in
# stages 4 to 7) and conf/recipes/ (network, loss and training).
corpus=demo
stage=0
stop_stage=7
dry_run=false
feature=fbank40     # conf/features/fbank40.yaml
named_feature=false # whether --feature was given
augment=''          # conf/augment/$augment.yaml; empty: noise with --musan, otherwise none
protocol=default    # conf/protocols/default.sh
norm=''             # score normalisation; empty: that of the protocol
name=''             # name of the experiment; empty: made from the options that differ from the defaults
nj=1
cmd=''              # launcher of the jobs; empty: run them on this machine
device=auto
overrides=()        # options of the recipe for steps/train.py: --SECTION.OPTION VALUE ...
prepare_values=()   # options for stage 0: --OPTION VALUE ...

names() { # FOLDER: print the names of the files in this folder of conf/, one per line
  local file
  for file in "${top}conf/$1"/*.{yaml,sh}; do
    [ ! -f "$file" ] || basename "${file%.*}"
  done
}

table() { # PACKAGE: print the names in the table of this package of the library, indented like the help on options
  sed -n 's/^    "\([a-z0-9_]*\)": .*/\1,/p' "${top}src/vouch/$1/__init__.py" | xargs | sed 's/,$//' |
    fold -s -w 90 | sed 's/^/                          /; s/ $//'
}

usage() {
  say "$(
    cat <<HELP
usage: ./run.sh [options]         walks the stages on a corpus; without options on the demo corpus

  stage  script                         makes, in egs/CORPUS
    0    local/prepare_CORPUS.py        data/{train,valid,test}/{wav.scp,utt2spk,...} and trials
    1    steps/make_fbank.py            features: feats.scp and archives
    2    steps/make_bank.py             data/bank: the noises and rooms of --musan and --rirs
         steps/augment_data.py          data/train_aug: the training set and changed copies of it (--augment, offline)
    3    steps/train.py                 exp/NAME/final.pt, with train.log, training.png, checkpoints/, tensorboard/
    4    steps/extract_embeddings.py    exp/NAME/embeddings/SET/embedding.scp
    5    steps/score_trials.py          exp/NAME/scores: cosine of each trial
    6    steps/normalize_scores.py      the same, normalised against the training speakers
    7    steps/compute_metrics.py       exp/NAME/results: EER, minDCF, pictures; a table here

which stages, on what
  --corpus NAME           a folder of egs/ (demo)
  --stage N               first stage (0)
  --stop-stage N          last stage (7)
  --dry-run               print the command of each stage and do nothing
  --OPTION VALUE          whatever egs/CORPUS/corpus.sh passes on to stage 0, such as --root DIR of folders;
                          --OPTION=VALUE is the same, of all options
how
  --model NAME            the network (what the recipe says); utils/model_info.py --all tells what each costs:
$(table models)
  --loss NAME             the loss, or a weighted sum of several: A+B (what the recipe says):
$(table losses)
  --finetune FILE         start from this model: final.pt, or checkpoints/last.pt, which has the loss too
  --recipe NAME           conf/recipes/NAME.yaml (what corpus.sh says)
  --model.X, --loss.X, --train.X VALUE    an option of the recipe, such as --train.epochs 10;
                          steps/train.py --model NAME --loss NAME --help lists those of a network and a loss
  --normalization NAME    of the features within an utterance: mean, meanvar, sliding or none (what the recipe says)
  --feature NAME          conf/features/NAME.yaml (fbank40)
  --augment NAME          conf/augment/NAME.yaml: $(names augment | xargs)
                          (noise with --musan, otherwise none): copies that stage 2 makes, or changes that stage 3
                          draws anew for each batch
  --musan DIR             MUSAN-shaped folder of noises for --augment; '': none (what corpus.sh says)
  --rirs DIR              folder of room impulse responses for --augment; '': none (what corpus.sh says)
  --protocol NAME         how stages 4 to 7 evaluate, in conf/protocols/NAME.sh: $(names protocols | xargs)
                          (default); of another they write to embeddings_NAME/, scores_NAME/, results_NAME/
  --norm NAME             score normalisation: none, znorm, tnorm, snorm or asnorm (what the protocol says)
  --name NAME             folder of the experiment in exp/ (model_loss and what else differs from the recipe)
where
  --nj N                  jobs that stages 1, 2 and 4 are split into (1)
  --cmd 'LAUNCHER ...'    who runs the jobs (utils/run.py: this machine)
  --device NAME           auto, cpu, cuda (each job of stage 4 takes another GPU) or cuda:N (auto)
HELP
  )"
}

die() {
  echo "run.sh: error: $*" >&2
  exit 1
}

say() { # WORD...: print the words; failing to do so, as on a full disk, is an error, so that no stage seems finished
  printf '%s\n' "$*" 2>/dev/null || die "the standard output cannot be written to; is it closed, or a disk full?"
}

nearest() { # WORD CHOICE...: print a hint that names the choice closest to the word
  PYTHONPATH=${top}src python3 -c 'import sys; from vouch.base.errors import nearest; print(nearest(sys.argv[1], sys.argv[2:]))' \
    "$@" 2>/dev/null || true
}

is_one_of() { # NAME CHOICE...
  local name=$1 choice
  shift
  for choice; do
    [ "$name" != "$choice" ] || return 0
  done
  return 1
}

check_name() { # WHAT NAME CHOICE...: fail unless the name is one of the choices
  is_one_of "${@:2}" || die "unknown $1 '$2'$(nearest "${@:2}")"
}

check_folder() { # OPTION FOLDER USUAL: fail if the folder is missing; the usual one may be made by stage 0
  [ -z "$2" ] || [ "$2" = "$3" ] || [ -d "$2" ] || $dry_run || die "$1 $2: no such folder"
}

check_option() { # OPTION: fail unless it exists; the part after the dot, as in --train.epochs, is checked by stage 3
  local section=${1%%.*} name=${1#*.}
  if is_one_of "$1" "${known[@]}"; then
    return
  elif [[ $1 != *.* ]]; then
    die "unknown option '$1'$(nearest "$1" "${known[@]}" --train.epochs)"
  elif is_one_of "$section" --model --loss --train; then
    return
  elif is_one_of "$section" "${known[@]}"; then
    die "unknown option '$1' (did you mean '$section'?)"
  else
    die "unknown option '$1'$(nearest "$1" "--model.$name" "--loss.$name" "--train.$name")"
  fi
}

running='' # process id of the command that is running
run() { # COMMAND...: run it and wait for it, or only print it
  if $dry_run; then
    say "$(printf ' %q' "$@")"
    return
  fi
  # In the background, because bash handles signals only after a command in the foreground has ended. If this script is
  # killed without a chance to react, the kernel signals the command.
  "${top}utils/end_with_parent.py" $$ "$@" <&3 3<&- &
  running=$!
  wait "$running"
  running=''
}

stop() { # SIGNAL: stop the running command, wait until it has saved its work, and end by the same signal
  trap '' HUP INT TERM
  if [ -n "$running" ]; then
    # Always SIGTERM, because commands in the background ignore the SIGINT that Ctrl-C sends to all processes.
    kill -TERM "$running" 2>/dev/null || true
    wait "$running" || true
  fi
  echo "run.sh: stopped by SIG$1; the same command goes on from here" >&2
  trap - "$1"
  kill -s "$1" $$
}

wanted() { # STAGE: whether this stage is to be run
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]
}

# --corpus is parsed first, because the corpus's corpus.sh defines further options.
words=("$@")
for i in "${!words[@]}"; do
  case ${words[i]} in
    --corpus) corpus=${words[i + 1]-$corpus} ;;
    --corpus=*) corpus=${words[i]#*=} ;;
  esac
done
corpora=()
for folder in "${top}egs"/*/; do
  corpora+=("$(basename "$folder")")
done
check_name corpus "$corpus" "${corpora[@]}"
data=${top}egs/$corpus/data

# Settings that corpus.sh may change.
prepare=''         # script that stage 0 runs; empty: the data directories were made by hand
prepare_options=() # options of run.sh that are passed on to that script
train_set=train
valid_set=valid
test_sets=(test)
recipe=default
musan=''           # folder of noises, for augmentation; empty: there is none
rirs=''            # folder of room responses, for augmentation; empty: there is none
if [ -f "${top}egs/$corpus/corpus.sh" ]; then
  # shellcheck source=egs/demo/corpus.sh
  . "${top}egs/$corpus/corpus.sh"
fi
usual_recipe=$recipe
usual_musan=$musan
usual_rirs=$rirs
usual_augment=${augment:-${musan:+noise}}

known=(
  --help --corpus --stage --stop-stage --dry-run
  --model --loss --finetune --normalization --recipe --feature --augment --musan --rirs
  --protocol --norm --name
  --nj --cmd --device
  "${prepare_options[@]/#/--}"
)
while [ $# -gt 0 ]; do
  option=${1%%=*}
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --dry-run)
      dry_run=true
      shift
      continue
      ;;
    --*) check_option "$option" ;;
    *) die "unexpected argument '$1'; options begin with --" ;;
  esac
  if [[ $1 == *=* ]]; then
    value=${1#*=}
    shift
  else
    [ $# -ge 2 ] && [[ $2 != --* ]] || die "option '$option' needs a value"
    value=$2
    shift 2
  fi
  case $option in
    --corpus) ;; # read above
    --recipe) recipe=$value ;;
    --feature)
      feature=$value
      named_feature=true
      ;;
    --augment) augment=$value ;;
    --musan) musan=$value ;;
    --rirs) rirs=$value ;;
    --stage) stage=$value ;;
    --stop-stage) stop_stage=$value ;;
    --protocol) protocol=$value ;;
    --norm) norm=$value ;;
    --name)
      name=$value
      case $name in */* | . | ..) die "--name $name: give the name of a folder, without slashes" ;; esac
      ;;
    --nj) nj=$value ;;
    --cmd) cmd=$value ;;
    --device) device=$value ;;
    --model | --loss | --finetune | --normalization | --model.* | --loss.* | --train.*)
      overrides+=("$option" "$value") # checked by steps/train.py, which knows them
      ;;
    *) prepare_values+=("$option" "$value") ;;
  esac
done

# All options are checked now, not after hours of other stages.
{ exec 3<&0; } 2>/dev/null || exec 3</dev/null # input of commands in the background, to which bash gives /dev/null
for number in stage stop_stage nj; do
  [[ ${!number} =~ ^[0-9]{1,6}$ ]] || die "--${number//_/-} needs a number, not '${!number}'"
done
[ "$stop_stage" -le 7 ] && [ "$stage" -le "$stop_stage" ] || die "stages are 0 to 7; --stage $stage --stop-stage $stop_stage"
[ "$nj" -ge 1 ] || die "--nj $nj: needs at least 1 job"
check_folder --musan "$musan" "$usual_musan"
check_folder --rirs "$rirs" "$usual_rirs"
augment=${augment:-${musan:+noise}}
augment=${augment:-none}
mapfile -t there < <(names augment)
check_name augmentation "$augment" "${there[@]}"
check_name normalisation "${norm:-none}" none znorm tnorm snorm asnorm
for kind in recipe feature protocol; do
  mapfile -t there < <(names "${kind}s")
  check_name "$kind" "${!kind}" "${there[@]}"
done

# shellcheck source=path.sh
. "${top:-./}path.sh"

# steps/train.py checks its options now, and tells the kind of input, features or waveform; and of the augmentation when
# waveforms are changed (online, offline or none), whether features are (masks or plain), and what recordings it takes.
train_options=(
  --config "${top}conf/recipes/$recipe.yaml"
  "${overrides[@]}"
  --device "$device"
)
augment_file=${top}conf/augment/$augment.yaml
described=$("${top}steps/train.py" --print-name "${train_options[@]}" \
  --feature "${top}conf/features/$feature.yaml" --augment "$augment_file")
{
  read -r usual_name input
  read -r when features_change sample_rate kinds
} <<<"$described"

# The default name of an experiment has the model, the loss, and the options that differ from the corpus's defaults.
if [ -z "$name" ]; then
  name=$usual_name
  [ "$recipe" = "$usual_recipe" ] || name+=_$recipe
  [ "$feature" = fbank40 ] || name+=_$feature
  [ "$augment" = "${usual_augment:-none}" ] || name+=_$augment
fi
IFS=/ read -ra parts <<<"$name"
for part in "${parts[@]}"; do
  # File systems allow 255 bytes; the names of score files and of experiments that are moved aside are longer than this.
  [ ${#part} -le 200 ] || die "the name '$name' of the experiment is too long (200 characters); choose one with --name"
done
exp=${top}egs/$corpus/exp/$name

# Stage 2 needs the folders of the recordings that the augmentation takes, and they may be there only after stage 0.
bank=$data/bank
if wanted 2; then
  if [ -n "$rirs" ] && [ "$rirs" != "$usual_rirs" ] && [[ " $kinds " != *" room "* ]]; then
    die "--rirs $rirs: --augment $augment takes no rooms; --augment kaldi does"
  fi
  for kind in $kinds; do
    case $kind in
      noise | music | speech)
        [ -n "$musan" ] || die "--augment $augment takes recordings of $kind; give a folder of noises: --musan DIR"
        [ ! -d "$musan" ] || [ -d "$musan/$kind" ] || die "--augment $augment takes recordings of $kind, and there is no $musan/$kind"
        ;;
      room) [ -n "$rirs" ] || die "--augment $augment takes responses of rooms; give a folder of them: --rirs DIR" ;;
      *) die "--augment $augment takes recordings of '$kind', which stage 2 knows no folder of" ;;
    esac
  done
fi

# Offline, the network is trained on copies, which have audio if it takes waveforms; online, on the training set itself.
trained_on=$train_set
augmenting=()
copying=()
if [ "$when" = offline ]; then
  trained_on=${train_set}_aug
  [ "$input" = features ] || copying=(--write-audio)
fi
# Offline, stage 3 only checks that the copies are of this augmentation.
if [ "$when" != none ] || [ "$features_change" = masks ]; then
  augmenting=(--augment "$augment_file")
fi
taking=() # recordings for stage 2, or for stage 3
if [ -n "$kinds" ]; then
  taking=(--bank "$bank")
  [ "$when" != online ] || augmenting+=("${taking[@]}")
fi

# A corpus made by hand may have no validation set; one made by stage 0 has it, even if it does not exist yet.
valid=()
if [ -n "$prepare" ] || [ -d "$data/$valid_set" ]; then
  valid=("$valid_set")
fi

# Number and launcher of the jobs of stages 1, 2 and 4.
jobs=(--nj "$nj" ${cmd:+--cmd "$cmd"})

# The output of each protocol has its own folders: embeddings_NAME, scores_NAME, results_NAME.
apart=''
by=''
if [ "$protocol" != default ]; then
  apart=_$protocol
  by=", protocol $protocol"
fi
embeddings=$exp/embeddings$apart
scores=$exp/scores$apart
results=$exp/results$apart
# The protocol sets the options of stages 4 to 7, and the score normalisation unless --norm is given.
# shellcheck source=conf/protocols/default.sh
. "${top}conf/protocols/$protocol.sh"

trap 'stop HUP' HUP
trap 'stop INT' INT
trap 'stop TERM' TERM

# Stage 0 converts any corpus to Kaldi's data directories, so that later stages do not depend on the corpus.
if wanted 0; then
  say "== stage 0: prepare the corpus"
  if [ -n "$prepare" ]; then
    run "$top$prepare" "$data" "${prepare_values[@]}"
  else
    say "egs/$corpus has no corpus.sh that prepares data: $data is used as it is"
  fi
fi

# Stage 1 computes features once, so that training need not do so in every epoch.
if wanted 1; then
  say "== stage 1: features"
  if [ "$input" = features ]; then
    for set in "$train_set" "${valid[@]}" "${test_sets[@]}"; do
      run "${top}steps/make_fbank.py" "$data/$set" \
        --config "${top}conf/features/$feature.yaml" \
        "${jobs[@]}"
    done
  else
    say "no features: the network takes waveforms, straight from the recordings; stage 3 leaves out silent ones"
  fi
fi

# Stage 2 adds copies with noise, music, other voices and rooms, so that the network learns to ignore them; or packs what
# stage 3 needs to do so for each batch anew.
if wanted 2; then
  say "== stage 2: augmentation"
  if [ -n "$kinds" ]; then
    run "${top}steps/make_bank.py" "$bank" \
      ${musan:+--musan "$musan"} \
      ${rirs:+--rirs "$rirs"} \
      --sample-rate "$sample_rate"
  fi
  if [ "$when" = offline ]; then
    run "${top}steps/augment_data.py" "$data/$train_set" "$data/$trained_on" \
      --augment "$augment_file" \
      "${taking[@]}" \
      "${copying[@]}" \
      "${jobs[@]}"
  elif [ "$when" = online ]; then
    say "no copies: stage 3 changes each batch anew (--augment $augment)"
  else
    say "no augmentation of waveforms: --augment is $augment"
  fi
fi

# Stage 3 trains the network; the EER on the held-out speakers of the validation set selects the best epoch. Edit here
# what --model, --loss and --train cannot express; steps/train.py --help describes all options.
if wanted 3; then
  say "== stage 3: training"
  features=()
  if [ "$input" = features ] || $named_feature; then
    # The script compares this configuration with that of the existing features, which may be of another run.
    features=(--feature "${top}conf/features/$feature.yaml")
  fi
  run "${top}steps/train.py" "$data/$trained_on" "$exp" \
    "${valid[@]/#/--valid=$data/}" \
    "${features[@]}" \
    "${augmenting[@]}" \
    "${train_options[@]}"
fi

# Stage 4 computes one vector for each utterance, so that later stages need neither audio nor network.
if wanted 4; then
  say "== stage 4: embeddings$by"
  to_embed=("${test_sets[@]}")
  # Score normalisation needs the training set, and so does scoring that subtracts its mean.
  if [ "$norm" != none ] || [[ ${score_options[*]} == *"$embeddings/$train_set/"* ]]; then
    to_embed=("$train_set" "${test_sets[@]}")
  fi
  for set in "${to_embed[@]}"; do
    run "${top}steps/extract_embeddings.py" "$data/$set" "$exp/final.pt" "$embeddings/$set" \
      "${extract_options[@]}" \
      --device "$device" \
      "${jobs[@]}"
  done
fi

# Stages 5 to 7 process the trial lists of the test sets, called trials or trials_NAME, but not backup copies of them.
# The arrays hold the set, the file and the name of the scores of each list.
list_sets=()
list_files=()
list_names=()
if wanted 5 || wanted 6 || wanted 7; then
  for set in "${test_sets[@]}"; do
    files=()
    for file in "$data/$set"/trials*; do
      if [[ ${file##*/} =~ ^trials(_[A-Za-z0-9_-]+)?$ ]]; then
        files+=("$file")
      elif [ -f "$file" ]; then
        echo "run.sh: $file is not used as a trial list: those are called trials or trials_NAME, of letters, digits, _ and -" >&2
      fi
    done
    # If there is no list yet, stage 5 reports it.
    [ ${#files[@]} -gt 0 ] || files=("$data/$set/trials")
    for file in "${files[@]}"; do
      [[ $file != */trials_"$norm" ]] || die "$file: the normalised scores of trials are called so too; rename it"
      list_sets+=("$set")
      list_files+=("$file")
      list_names+=("${set}_${file##*/}")
    done
  done
fi

# Stages 5 and 6 use the same scoring options: those of the protocol and, with an enrol_map, those for enrolments.
compare_as() { # SET: set compare to these options
  compare=("${score_options[@]}")
  if [ -f "$data/$1/enrol_map" ]; then
    compare+=(--enrol-map "$data/$1/enrol_map" "${enrol_options[@]}")
  fi
}

# Stage 5 computes a score for each trial, which is larger for the same speaker.
if wanted 5; then
  for i in "${!list_files[@]}"; do
    say "== stage 5: scores of ${list_names[i]}$by"
    compare_as "${list_sets[i]}"
    run "${top}steps/score_trials.py" \
      "${list_files[i]}" \
      "$embeddings/${list_sets[i]}/embedding.scp" \
      "$scores/${list_names[i]}.txt" \
      "${compare[@]}"
  done
fi

# Stage 6 normalises scores against other speakers, so that one threshold suits all voices and recordings.
if wanted 6; then
  for i in "${!list_files[@]}"; do
    say "== stage 6: normalised scores of ${list_names[i]}$by"
    if [ "$norm" = none ]; then
      say "no normalisation: protocol $protocol has none, or --norm is none"
      continue
    fi
    compare_as "${list_sets[i]}"
    run "${top}steps/normalize_scores.py" \
      "$scores/${list_names[i]}.txt" \
      "$embeddings/${list_sets[i]}/embedding.scp" \
      "$embeddings/$train_set/embedding.scp" \
      "$scores/${list_names[i]}_$norm.txt" \
      --method "$norm" \
      --utt2spk "$data/${list_sets[i]}/utt2spk" \
      "${norm_options[@]}" \
      "${compare[@]}"
  done
fi

# Stage 7 computes error rates from the scores and the labels of the trial list. It reads the speakers for the intervals
# from utt2spk beside the list.
if wanted 7; then
  for i in "${!list_files[@]}"; do
    say "== stage 7: results on ${list_names[i]}$by"
    judged=("$scores/${list_names[i]}.txt")
    if [ "$norm" != none ]; then
      judged+=("$scores/${list_names[i]}_$norm.txt")
    fi
    run "${top}steps/compute_metrics.py" "${list_files[i]}" "${judged[@]}" "$results" "${metrics_options[@]}"
    say "log: $exp/train.log"
  done
fi
